"""Sweeps and their checkpoints: whose are kept, where they lie, and disks and stores that fail while trials train."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from hpo.search.messages import Snapshot
from tests.ftp import FtpServer
from tests.launching import Launcher, check_states
from tests.without_ray import run_here

LOOP = """
import os
import resource
import time

import torch


def train(config, trial):
    if config["limit"]:  # as if the disk had so much room left
        resource.setrlimit(resource.RLIMIT_FSIZE, (config["limit"], resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    if trial.number == config["kills"][0]:
        os.kill(config["kills"][1], 9)
    for step in range(1, 4):
        trial.report(step, score=step * config["x"])
        trial.checkpoint({"step": step, "w": torch.zeros(config["big"] if step == 2 else 8)})
"""

KEYS: dict[str, Any] = {
    "name": "kept",
    "train": "code.py:train",
    "space": {"x": {"low": 0.1, "high": 1.0}},
    "objective": {"metric": "score", "direction": "maximize"},
    "budget": {"trials": 6},
    "sampler": "random",
    "base": {"limit": 0, "big": 8, "kills": [-1, 0]},
}


def run(folder: Path, base: dict[str, Any] | None = None, **changes: Any) -> tuple[optuna.Study, Snapshot]:
    """The sweep without Ray, with some keys changed; the study and the last snapshot."""
    (folder / "code.py").write_text(LOOP)
    last: list[Snapshot] = []
    url = run_here({**KEYS, **changes, "base": {**KEYS["base"], **(base or {})}}, folder, last.append)
    return optuna.load_study(study_name="kept", storage=url), last[0]


def lying(folder: Path) -> dict[str, list[str]]:
    """All files of checkpoints below `folder`, by theirs."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.pt*")):
        found.setdefault(path.parent.name, []).append(path.name)
    return found


def expected(study: optuna.Study, keep: int) -> set[str]:
    """The files of the best and of the last."""
    trials = sorted(study.trials, key=lambda trial: (-trial.values[0], trial.number))
    last = max(study.trials, key=lambda trial: trial.datetime_complete)
    return {f"{trial.number}.1.pt" for trial in [*trials[:keep], last]}


@pytest.mark.parametrize("keep", [1, 3, 99])
def test_the_best_and_the_last_are_kept(keep: int, tmp_path: Path) -> None:
    study, _ = run(tmp_path, checkpoints={"path": "there", "keep": keep})
    ((folder, names),) = lying(tmp_path).items()
    assert folder.startswith("kept-")
    assert set(names) == expected(study, keep)
    for trial in study.trials:
        where = Path(trial.user_attrs["checkpoint"])
        assert where.name == f"{trial.number}.1.pt"
        assert where.parent.parent == tmp_path / "there"
        if where.exists():
            assert torch.load(where, weights_only=True)["state"]["step"] == 3, "the state of its end"


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    run(tmp_path, checkpoints={"keep": 0})
    assert lying(tmp_path) == {}


def test_a_study_that_is_gone_on_with_keeps_by_all_its_trials(tmp_path: Path) -> None:
    run(tmp_path, checkpoints={"keep": 2})
    study, _ = run(tmp_path, checkpoints={"keep": 2}, budget={"trials": 12})
    ((folder, names),) = lying(tmp_path).items()
    assert folder == "checkpoints"
    assert set(names) == expected(study, 2)
    study, _ = run(tmp_path, checkpoints={"keep": 1}, budget={"trials": 13})
    assert set(lying(tmp_path)["checkpoints"]) <= expected(study, 1)


@dataclass(frozen=True)
class SmallDisk:
    """A place with little room. limit: what a process there must allow itself, where it is no disk of its own."""

    path: Path
    limit: int


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A real file system of 1 MiB where we may mount one; else a limit on files of 1 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        yield SmallDisk(path, 0)
        subprocess.run(["umount", str(path)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield SmallDisk(path, 1024 * 1024)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_checkpoints_and_no_trial(small_disk: SmallDisk, tmp_path: Path) -> None:
    study, last = run(
        tmp_path,
        {"limit": small_disk.limit, "big": 1_000_000},
        checkpoints={"path": str(small_disk.path), "every": 1000, "keep": 1},
    )
    check_states(study.trials, 6)
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    (warning,) = last.warnings
    assert warning.startswith("a checkpoint of trial 0 was not written, it goes on: ")
    for trial in study.trials:
        assert Path(trial.user_attrs["log"]).read_text().count("was not written") == 1
    ((_, names),) = lying(small_disk.path).items()
    assert set(names) == expected(study, 1), "nothing half-written"
    for name in names:
        saved = torch.load(next(small_disk.path.rglob(name)), weights_only=True)
        assert saved["state"]["step"] == 1, "what was saved before the disk was full"


def test_a_real_launch_on_a_full_disk(small_disk: SmallDisk, launcher: Launcher) -> None:
    launcher.write("code.py", LOOP)
    launcher.write(
        "kept.yaml",
        f"""
name: kept
train: code.py:train
space: {{x: {{low: 0.1, high: 1.0}}}}
objective: {{metric: score, direction: maximize}}
budget: {{trials: 8}}
sampler: random
concurrency: 2
checkpoints: {{path: small, every: 1s, keep: 2}}
base: {{limit: {small_disk.limit}, big: 1000000, kills: [-1, 0]}}
""",
    )
    done = launcher.run("launch", "kept.yaml")
    assert done.returncode == 0, done.stderr
    trials = launcher.trials("kept")
    check_states(trials, 8)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert "was not written, it goes on: " in said
    kept = [name for names in lying(small_disk.path).values() for name in names]
    assert 2 <= len(kept) <= 3
    assert not [name for name in kept if name.endswith(".new")]
    best = min(trials, key=lambda trial: (-trial.values[0], trial.number))
    shown = launcher.run("trials", "kept", str(best.number)).stdout
    assert f"checkpoint: {best.user_attrs['checkpoint']}\n" in shown
    assert Path(best.user_attrs["checkpoint"]).exists()


def test_a_store_that_goes_away_costs_checkpoints_and_no_trial(tmp_path: Path) -> None:
    with FtpServer(tmp_path / "served") as server:
        os.environ["HPO_TEST_FTP"] = server.url
        try:
            place = {"path": "${env:HPO_TEST_FTP}/sweeps", "keep": 2}
            base = {"kills": [3, server.pid]}
            study, last = run(tmp_path, base, checkpoints=place)
            assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
            (warning,) = last.warnings
            assert warning.startswith(
                f"a checkpoint of trial 3 was not written, it goes on: {server.shown}/sweeps/kept-"
            )
            left = set(lying(server.folder).popitem()[1])
            assert left >= expected(study, 2) & {"0.1.pt", "1.1.pt", "2.1.pt"}
            server.start()
            study, last = run(tmp_path, base, checkpoints=place, budget={"trials": 8})
            assert last.warnings == ()
            there = set(lying(server.folder).popitem()[1])
            written = {f"{trial.number}.1.pt" for trial in study.trials if "checkpoint" in trial.user_attrs}
            assert there == expected(study, 2) & written
            assert server.password not in (tmp_path / "hpo.db").read_bytes().decode("latin-1")
            assert all(server.password not in path.read_text() for path in tmp_path.rglob("*.log"))
        finally:
            del os.environ["HPO_TEST_FTP"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("dropbox://x/y", "error: checkpoints.path: dropbox://x/y needs a package that is not here: "),
        ("nowhere://x/y", "error: checkpoints.path: no store is known for nowhere:// (found nowhere://x/y)"),
        (
            "code.py/deep",
            "error: checkpoints.path: {folder}/code.py/deep cannot be written: [Errno 20] Not a directory",
        ),
        ("ftp://127.0.0.1:1/x", "error: checkpoints.path: ftp://127.0.0.1:1/x cannot be written: "),
    ],
)
def test_a_place_that_is_none_is_refused_before_anything_is_written(
    path: str, sentence: str, launcher: Launcher
) -> None:
    launcher.write("code.py", LOOP)
    keys = "\n".join(f"{key}: {value}" for key, value in KEYS.items())
    launcher.write("kept.yaml", keys)
    before = sorted(os.listdir(launcher.folder))
    done = launcher.run("launch", "kept.yaml", f"checkpoints.path={path}")
    assert done.returncode == 2
    assert sentence.replace("{folder}", str(launcher.folder)) in done.stderr
    assert sorted(set(os.listdir(launcher.folder)) - {"__pycache__"}) == before
