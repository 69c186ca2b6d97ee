"""`hpo db`: schemas of a database, read, checked and brought up to date."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import optuna
import pytest

from hpo.storage import open_storage
from tests.cli.conftest import Hpo


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The SQLite file that commands look at; it does not exist yet."""
    monkeypatch.setenv("HPO_STORAGE", f"sqlite:///{tmp_path / 'hpo.db'}")
    return tmp_path / "hpo.db"


def plain(file: Path) -> None:
    """A database that Optuna made by itself."""
    optuna.create_study(study_name="plain", storage=f"sqlite:///{file}")


def test_upgrade_makes_our_tables_beside_optunas_and_says_so(hpo: Hpo, file: Path) -> None:
    plain(file)
    before = json.loads(hpo("db", "current", "--json").out)
    assert before["hpo"] is None
    assert before["optuna"].startswith("v")
    made = hpo("db", "upgrade")
    assert (made.code, made.out) == (0, "")
    assert f"hpo's tables made, at {before['newest']}" in made.err
    assert "already at" in hpo("db", "upgrade").err
    after = json.loads(hpo("db", "current", "--json").out)
    assert (after["optuna"], after["hpo"]) == (before["optuna"], before["newest"])
    assert hpo("db", "current").out.splitlines()[1:] == [f"optuna  {after['optuna']}", f"hpo     {after['hpo']}"]
    assert optuna.load_study(study_name="plain", storage=f"sqlite:///{file}").trials == []


def test_check_names_what_differs(hpo: Hpo, file: Path) -> None:
    with open_storage(f"sqlite:///{file}") as storage:
        storage.create_study("one", ["minimize"])
    assert hpo("db", "upgrade").code == 0
    assert hpo("db", "check").code == 0
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE hpo_exports")
    connection.close()
    done = hpo("db", "check")
    assert done.code == 2
    assert "are not what this hpo would make" in done.err
    assert "hpo_exports" in done.err


@pytest.mark.parametrize("command", ["current", "upgrade", "check"])
def test_nothing_is_made_where_there_is_nothing(hpo: Hpo, file: Path, command: str) -> None:
    done = hpo("db", command)
    assert done.code == 2
    assert "no database at" in done.err
    assert not file.exists()


def test_check_of_a_database_without_our_tables_says_who_makes_them(hpo: Hpo, file: Path) -> None:
    plain(file)
    done = hpo("db", "check")
    assert done.code == 2
    assert "hpo db upgrade" in done.err


def test_copy_brings_a_study_to_another_database_once(hpo: Hpo, file: Path, postgres_url: str) -> None:
    plain(file)
    study = optuna.load_study(study_name="plain", storage=f"sqlite:///{file}")
    study.enqueue_trial({"x": 1.0})
    done = hpo("db", "copy", f"sqlite:///{file}", postgres_url, "--study", "plain")
    assert done.code == 0, done.err
    assert done.out.startswith("plain  1 trials, ")
    with open_storage(postgres_url) as storage:
        (trial,) = optuna.load_study(study_name="plain", storage=storage.optuna).trials
        assert trial.system_attrs == study.trials[0].system_attrs
    again = hpo("db", "copy", f"sqlite:///{file}", postgres_url)
    assert again.code == 2
    assert "'plain' exists already in postgresql://" in again.err
    assert "does not exist" in hpo("db", "copy", f"sqlite:///{file}", postgres_url, "--study", "plane").err
