"""A thousand members that report once a second: every report is decided and stored, and nothing piles up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench" / "backpressure.py"
MEMBERS = 1000


@pytest.mark.slow
def test_a_thousand_members_are_kept_up_with() -> None:
    command = [sys.executable, str(BENCH), "--members", str(MEMBERS), "--seconds", "60", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["database"] for one in found] == ["sqlite", "postgresql"]
    for one in found:
        print(f"{one['database']}: a decision took {one['median']:.0f} ms (median), {one['cpu']:.0%} of a core")
        assert one["reports"] > 30 * MEMBERS, "those that ended and began in a round reported nothing"
        assert one["stored_reports"] == one["stored_metrics"] == one["reports"]
        assert one["ended"] > MEMBERS
        early, late = one["pending"][: len(one["pending"]) // 2], one["pending"][len(one["pending"]) // 2 :]
        assert max(late) <= max(early) + 2 * MEMBERS, "no more than a second's worth"
