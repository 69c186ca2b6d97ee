"""`hpo launch` and `resume`: what is refused, where the study is, starting anew, and output for programs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo import yaml12
from hpo.search import attributes
from tests.cli.conftest import Hpo
from tests.launching import Launcher
from tests.without_ray import run_here

KEYS: dict[str, Any] = {
    "name": "loop",
    "train": "code.py:train",
    "space": {"x": {"low": 0.1, "high": 1.0}},
    "objective": {"metric": "score", "direction": "maximize"},
    "budget": {"trials": 2},
    "concurrency": 1,
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with loop.yaml and its finished study in ./hpo.db, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    (tmp_path / "code.py").write_text(
        "def train(config, trial):\n    print('in the log')\n    return {'score': config['x']}\n"
    )
    (tmp_path / "loop.yaml").write_text(yaml12.dump(KEYS))
    run_here(KEYS, tmp_path)
    return tmp_path


def identity(folder: Path) -> str:
    study = optuna.load_study(study_name="loop", storage=f"sqlite:///{folder}/hpo.db")
    return str(study.user_attrs[attributes.IDENTITY])


def made_otherwise(url: str) -> None:
    """Let a study be of another spec, so that a launch says where it is and goes no further."""
    study = optuna.load_study(study_name="loop", storage=url)
    stored = json.loads(study.user_attrs[attributes.SWEEP])
    study.set_user_attr(attributes.SWEEP, json.dumps({**stored, "keys": {**stored["keys"], "seed": 7}}))


def test_where_the_study_is_and_who_said_so(hpo: Hpo, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {}
    for name in ("flag", "environment", "file"):
        (study / name).mkdir()
        places[name] = f"sqlite:///{name}/hpo.db"
        (study / name / "hpo.db").write_bytes((study / "hpo.db").read_bytes())
    for url in ("sqlite:///hpo.db", *places.values()):
        made_otherwise(url)

    def said(*arguments: str) -> str:
        done = hpo("launch", "loop.yaml", *arguments)
        assert (done.code, done.out) == (2, "")
        first, second, *_ = done.err.splitlines()
        assert "exists with another spec" in second
        return first

    assert said() == f"study 'loop' in sqlite:///{study}/hpo.db (the default)"
    (study / "loop.yaml").write_text(yaml12.dump({**KEYS, "storage": places["file"]}))
    assert said() == f"study 'loop' in sqlite:///{study}/file/hpo.db (the sweep file)"
    monkeypatch.setenv("HPO_STORAGE", places["environment"])
    assert said() == f"study 'loop' in sqlite:///{study}/environment/hpo.db (HPO_STORAGE)"
    assert said("--storage", places["flag"]) == f"study 'loop' in sqlite:///{study}/flag/hpo.db (--storage)"


def test_another_spec_is_refused_with_the_difference(hpo: Hpo, study: Path) -> None:
    done = hpo("launch", "loop.yaml", "space.x.high=2.0", "seed=4")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[1:] == [
        "error: study 'loop' exists with another spec:",
        "  space.x.high: was 1.0, now 2.0",
        "  seed: was 0, now 4",
        "",
        "hint: hpo launch FILE --name NEW makes another study, --fresh deletes this one",
    ]


def test_nothing_is_deleted_without_a_yes(hpo: Hpo, study: Path) -> None:
    before = identity(study)
    done = hpo("launch", "loop.yaml", "--fresh")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: --fresh would delete study 'loop' with 2 trials\n\nhint: add --yes\n"
    assert identity(study) == before


def test_on_a_terminal_it_asks_and_a_no_keeps_the_study(study: Path) -> None:
    before = identity(study)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "hpo", "launch", "loop.yaml", "--fresh"]
    process = subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(slave)
    os.write(master, b"n\n")
    out, err = process.communicate(timeout=60)
    os.close(master)
    assert (process.returncode, out.strip()) == (2, "")  # the prompt's cursor is a space on stdout
    assert re.search(r"delete study 'loop' with 2 trials in sqlite:///.+hpo\.db\? \[y/N\]", err)
    assert "error: study 'loop' was kept; nothing was started" in err
    assert identity(study) == before


def test_a_yes_starts_anew_json_is_data_only_and_a_full_study_goes_on_quietly(study: Path) -> None:
    before = identity(study)
    launcher = Launcher(study)
    try:
        done = launcher.run("launch", "loop.yaml", "space.x.high=2.0", "--fresh", "--yes", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert (found["name"], found["state"], found["done"], found["total"]) == ("loop", "done", 2, 2)
        after = identity(study)
        assert after != before

        done = launcher.run("resume", "loop", "trial.timeout=5m", "failures.retries=2", "--trials", "3", "--quiet")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("study   loop: done, 3 of 3 trials ended\ntrials  3 COMPLETE\nbest    trial ")
        assert len(done.stdout.splitlines()) == 4
        assert identity(study) == after
        stored = optuna.load_study(study_name="loop", storage=f"sqlite:///{study}/hpo.db").user_attrs[attributes.SWEEP]
        keys = json.loads(stored)["keys"]
        assert (keys["trial"]["timeout"], keys["failures"]["retries"], keys["budget"]) == ("5m", 2, {"trials": 3})
    finally:
        launcher.close()


def test_a_launch_says_what_it_does_and_what_comes_next(digits: tuple[Launcher, Any]) -> None:
    launcher, done = digits
    lines = done.stderr.splitlines()
    assert lines[0] == f"study 'digits' in {launcher.url} (HPO_STORAGE)"
    assert lines[1] == "starting Ray on this machine ..."
    ended = [
        line for line in lines if re.match(r"trial \d+ (complete: \S+|pruned at step \d+ by hyperband: .+) \(", line)
    ]
    assert sorted(int(line.split()[1]) for line in ended) == list(range(12))
    assert ended[-1].split("; ")[1].startswith("12 of 12, best 0.")
    assert re.fullmatch(r"digits: 12 of 12 trials in (\d+ min )?\d+ s", lines[-5])
    assert [line.strip() for line in lines[-3:]] == [
        "next:  hpo report digits -o report.html",
        "hpo export digits -o best.yaml",
        "hpo train best.yaml",
    ]
    assert len(lines) <= 12 + 10, "nothing else is said"
    assert done.stdout.startswith("study   digits: done, 12 of 12 trials ended\n")
