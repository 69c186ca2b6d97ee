"""What a slot's process loads before its first trial: every second of it is paid on every core at once."""

from __future__ import annotations

import subprocess
import sys


def test_a_slot_loads_nothing_of_storage_and_search() -> None:
    code = "import sys, hpo.tuning.slot; print(*sorted({'sqlalchemy', 'alembic', 'optuna', 'plotly'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
