"""Opening a database that is there loads no Alembic: a third of a second of every start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna

from hpo.storage import open_storage, optuna_schema

OPENS = """
import sys
from hpo.storage import open_storage
with open_storage(sys.argv[1]) as storage:
    assert storage.exists("s")
print("alembic" in sys.modules)
"""


def test_an_existing_study_is_opened_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with open_storage(url) as storage:
        storage.create_study("s", ["minimize"])
    done = subprocess.run([sys.executable, "-c", OPENS, url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_newest_schema_of_the_installed_optuna_is_known() -> None:
    head, _ = optuna_schema._revisions()
    assert optuna_schema._HEADS.get(optuna.__version__, head) == head
