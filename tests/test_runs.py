"""Launching and resuming from Python, as far as it goes before Ray is started: what is refused, and what is said."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo.errors import NotFound, Refused, UserError
from hpo.holding import Tenure
from hpo.runs import search_plan
from hpo.search import attributes
from hpo.storage import Held
from hpo.sweep import Sweep
from hpo.sweep.difference import difference
from tests.held import record_run
from tests.launching import Launcher
from tests.without_ray import run_here

KEYS: dict[str, Any] = {
    "name": "loop",
    "train": "code.py:train",
    "space": {"x": {"low": 0.1, "high": 1.0}},
    "objective": {"metric": "score", "direction": "maximize"},
    "budget": {"trials": 2},
    "base": {"rate": 0.5},
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A finished study of the keys above."""
    (tmp_path / "code.py").write_text("def train(config, trial):\n    return {'score': config['x']}\n")
    return run_here(KEYS, tmp_path)


def sweep(folder: Path, **changes: Any) -> hpo.Sweep:
    return hpo.Sweep.from_dict({**KEYS, **changes}, folder)


def refused(folder: Path, url: str, **keys: Any) -> tuple[Refused, list[str]]:
    said: list[str] = []
    with pytest.raises(Refused) as error:
        hpo.launch(sweep(folder, **keys), storage=url, say=said.append)
    return error.value, said


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"space": {"x": {"low": 0.1, "high": 2.0}}}, "space.x.high: was 1.0, now 2.0"),
        ({"space": {**KEYS["space"], "y": {"low": 0.0, "high": 1.0}}}, "space.y.low: was absent, now 0.0"),
        ({"base": {}}, "base.rate: was 0.5, now absent"),
        ({"seed": 3}, "seed: was 0, now 3"),
        ({"sampler": "random"}, "sampler.name: was 'tpe', now 'random'"),
        ({"pruner": "median"}, "pruner.name: was 'none', now 'median'"),
        (
            {"objective": {"metric": "score", "direction": "minimize"}},
            "objective.direction: was 'maximize', now 'minimize'",
        ),
    ],
)
def test_another_spec_under_the_same_name_is_refused_and_shown(
    tmp_path: Path, url: str, changes: dict[str, Any], line: str
) -> None:
    error, said = refused(tmp_path, url, **changes)
    head, *lines = str(error).splitlines()
    assert head == "study 'loop' exists with another spec:"
    assert f"  {line}" in lines
    assert error.hint == "hpo launch FILE --name NEW makes another study, --fresh deletes this one"
    assert said == [f"study 'loop' in {url} (--storage)"]
    assert len(hpo.load_study("loop", url).trials) == 2


def test_changed_code_is_another_spec(tmp_path: Path, url: str) -> None:
    code = tmp_path / "code.py"
    code.write_text(code.read_text() + "\n")
    error, _ = refused(tmp_path, url)
    assert str(error).splitlines()[1:] == [f"  {code}: the file has changed since"]


def test_what_is_free_makes_no_difference() -> None:
    free: dict[str, Any] = {"budget": {"trials": 9}, "concurrency": 3, "trial": {"cpus": 2}, "failures": {"retries": 1}}
    identities = [hpo.Sweep.identity({"keys": {**KEYS, **keys}, "digests": {}}) for keys in ({}, free, {"seed": 1})]
    assert difference(identities[0], identities[1]) == []
    assert difference(identities[0], identities[2]) == ["seed: was absent, now 1"]


def test_a_running_study_is_refused_whatever_is_asked(tmp_path: Path, url: str) -> None:
    with Tenure(url, "loop", record_run(url, "loop")):
        who = f"study 'loop' is being run by process {os.getpid()} on {socket.gethostname()}, since 2026-01-01T"
        for fresh in (False, True):
            with pytest.raises(Held) as error:
                hpo.launch(sweep(tmp_path), storage=url, fresh=fresh, say=lambda text: None)
            assert str(error.value).startswith(who)
            assert error.value.hint == "watch it: hpo status loop; --takeover takes the study from a living run"
        with pytest.raises(Refused, match="is being run by"):
            hpo.resume("loop", storage=url, say=lambda text: None)
    assert len(hpo.load_study("loop", url).trials) == 2


def test_resume_takes_only_keys_that_are_sound(url: str) -> None:
    with pytest.raises(UserError, match=r"budget\.trials: .*found 0"):
        hpo.resume("loop", storage=url, overrides=[("budget.trials", 0)])
    with pytest.raises(UserError, match="concurrency: must be a whole number from 1, or auto"):
        hpo.resume("loop", storage=url, overrides=[("concurrency", "many")])
    with pytest.raises(Refused, match="seed: was 0, now 1"):
        hpo.resume("loop", storage=url, overrides=[("seed", 1)], say=lambda text: None)
    with pytest.raises(Refused, match=r"base\.rate: was 0\.5, now 0\.25"):
        hpo.resume("loop", storage=url, overrides=["base.rate=0.25"], say=lambda text: None)
    with pytest.raises(UserError, match=r"trial\.time: not a key of trial; write timeout"):
        hpo.resume("loop", storage=url, overrides=["trial.time=5m"])


def test_resume_stays_with_its_study(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="name: study 'loop' is resumed under its own name, found 'other'"):
        hpo.resume("loop", storage=url, overrides=["name=other"])
    with pytest.raises(UserError, match="storage: where a study that is resumed lies is said by --storage"):
        hpo.resume("loop", storage=url, overrides=[f"storage=sqlite:///{tmp_path}/other.db"])
    assert not (tmp_path / "other.db").exists()


def test_resume_names_code_that_is_gone(tmp_path: Path, url: str) -> None:
    (tmp_path / "code.py").unlink()
    with pytest.raises(UserError, match=r"train: no file '.*code\.py' in "):
        hpo.resume("loop", storage=url)


def test_resume_of_nothing_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no database at"):
        hpo.resume("loop", storage=f"sqlite:///{tmp_path}/hpo.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("sqlite:///{folder}/absent/hpo.db", "storage: the folder '{folder}/absent' does not exist"),
        ("mysqlite:///hpo.db", "storage: unknown URL scheme 'mysqlite'"),
        ("postgresql://me:s3cret@127.0.0.1:1/db", r"storage: cannot use postgresql://me:\*\*\*@127.0.0.1:1/db"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_before_anything_starts(
    tmp_path: Path, place: str, sentence: str
) -> None:
    (tmp_path / "code.py").write_text("def train(config, trial):\n    return {'score': config['x']}\n")
    with pytest.raises(UserError, match=sentence.format(folder=tmp_path)):
        hpo.launch(sweep(tmp_path), storage=place.format(folder=tmp_path), say=lambda text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["code.py"]


@pytest.mark.parametrize("name", ["loop", "another"])
def test_tables_of_an_older_hpo_are_refused_before_anything_starts(tmp_path: Path, url: str, name: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "hpo.db")) as database, database:
        database.execute("DROP TABLE hpo_pack_speeds")
        database.execute("UPDATE hpo_alembic_version SET version_num = '0001'")
    said: list[str] = []
    with pytest.raises(UserError, match=r"are of revision 0001, .*; run `hpo db upgrade` once"):
        hpo.launch(sweep(tmp_path, name=name), storage=url, say=said.append)
    assert [line for line in said if "Ray" in line] == []


def test_the_study_keeps_its_spec_for_resume_without_storage_and_secrets(tmp_path: Path, url: str) -> None:
    stored = json.loads(hpo.load_study("loop", url).user_attrs[attributes.SWEEP])
    assert "storage" not in stored["keys"]
    assert stored["folder"] == str(tmp_path)
    again = hpo.Sweep.from_dict(stored["keys"], Path(stored["folder"]))
    assert again.stored() == stored == sweep(tmp_path).stored()


def test_what_the_coordinator_is_told(tmp_path: Path, url: str) -> None:
    plan = search_plan(
        sweep(
            tmp_path,
            budget={"trials": 7, "time": "90s"},
            concurrency=3,
            trial={"timeout": "2m"},
            failures={"retries": 2, "max_in_a_row": 4},
            seed=5,
        )
    )
    assert (plan.study, plan.trials, plan.seconds, plan.slots, plan.timeout) == ("loop", 7, 90.0, 3, 120.0)
    assert (plan.retries, plan.max_in_a_row, plan.seed, plan.max_resource) == (2, 4, 5, None)
    assert search_plan(sweep(tmp_path)).slots is None
    assert plan.pack == "off", "a loop of one's own is never packed"


def test_which_parameters_give_a_pack_its_shape(tmp_path: Path) -> None:
    space = {
        "optimizer.lr": {"low": 1e-4, "high": 1.0, "log": True},
        "optimizer.name": {"choices": ["sgd", "adamw"]},
        "model.width": {"low": 8, "high": 64},
        "batch_size": {"choices": [16, 32]},
        "regularization.dropout": {"low": 0.0, "high": 0.5},
        "regularization.label_smoothing": {"low": 0.0, "high": 0.2},
        "schedule.name": {
            "choices": {"constant": {}, "cosine": {"schedule.warmup_fraction": {"low": 0.0, "high": 0.1}}}
        },
        "initializer.name": {"choices": ["kaiming_normal", "orthogonal"]},
        "epochs": {"choices": [4, 8]},
    }
    keys = {"name": "mixed", "task": "digits", "space": space, "budget": {"trials": 7}}
    keys["objective"] = {"metric": "val_accuracy", "direction": "maximize"}
    assert search_plan(Sweep.from_dict(keys, tmp_path), 3).structural == {"optimizer.name", "model.width", "batch_size"}
    assert search_plan(Sweep.from_dict({**keys, "pack": "off"}, tmp_path), 3).structural == frozenset()


def test_a_full_budget_starts_nothing(digits: tuple[Launcher, subprocess.CompletedProcess[str]]) -> None:
    launcher, _ = digits
    before = launcher.trials("digits")
    again = launcher.run("launch", "digits.yaml")
    assert again.returncode == 0, again.stderr
    assert f"{len(before)} of {len(before)} done, 0 to go" in again.stderr
    assert "starting Ray" not in again.stderr
    assert launcher.trials("digits") == before
