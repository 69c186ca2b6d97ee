"""kill -9 of the process that writes, at random instants."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest

from hpo.storage import open_storage, resolve
from hpo.testing.storage import plain_storage

CHILD = Path(__file__).with_name("_sweep.py")
STEPS = 20


def _run(url: str, budget: int, kill_after: float | None) -> list[list[str]]:
    """What a process said until it ended or, `kill_after` seconds after its first tell, was killed."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), url, str(budget)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stderr is not None
    lines: list[list[str]] = []
    timer: threading.Timer | None = None
    for line in child.stdout:
        if not line.endswith("\n"):
            break  # killed in the middle of a word
        lines.append(line.split())
        if timer is None and kill_after is not None and lines[-1][0] == "told":
            timer = threading.Timer(kill_after, child.kill)
            timer.start()
    errors = child.stderr.read()
    child.wait()
    child.stdout.close()
    child.stderr.close()
    if timer is not None:
        timer.cancel()
    if kill_after is None:
        assert child.returncode == 0, errors
    return lines


def _check(url: str, lines: list[list[str]]) -> None:
    told = {int(line[1]) for line in lines if line[0] == "told"}
    asked = {int(line[1]): line[2] for line in lines if line[0] == "asked"}
    with plain_storage(resolve(url)) as plain:
        trials = optuna.load_study(study_name="s", storage=plain).trials
    assert [t.number for t in trials] == list(range(len(trials)))
    for trial in trials:
        assert sorted(trial.intermediate_values) == list(range(len(trial.intermediate_values)))
        if trial.number in asked:
            assert repr(trial.params["optimizer.lr"]) == asked[trial.number]
        if trial.number in told:
            assert trial.state == optuna.trial.TrialState.COMPLETE
            assert trial.value == float(trial.number)
        if trial.state == optuna.trial.TrialState.COMPLETE:
            assert len(trial.intermediate_values) == STEPS


def _kill_and_resume(url: str, budget: int, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    with open_storage(url) as storage:
        storage.create_study("s", ["minimize"])
    said: list[list[str]] = []
    for _ in range(kills):
        said += _run(url, budget, kill_after=rng.uniform(0, 0.3))
        _check(url, said)
    said += _run(url, budget, kill_after=None)
    _check(url, said)
    with plain_storage(resolve(url)) as plain:
        states = [t.state.name for t in optuna.load_study(study_name="s", storage=plain).trials]
    assert states == ["COMPLETE"] * budget
    # one that was told is never asked again
    numbers = [int(line[1]) for line in said if line[0] == "told"]
    assert len(numbers) == len(set(numbers))


def test_nothing_told_is_lost_and_the_budget_is_exact(url: str) -> None:
    _kill_and_resume(url, budget=30, kills=2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills(url: str, seed: int) -> None:
    _kill_and_resume(url, budget=300, kills=20, seed=seed)
