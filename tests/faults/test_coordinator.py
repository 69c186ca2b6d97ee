"""kill -9 of the coordinator's process, once and again and again."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.faults.test_kills import SWEEP, steps_of
from tests.launching import Launcher, check_states, coordinator_of, training_processes

TRAIN = """
import os, time


def train(config, trial):
    done = (trial.resume_from or {"step": 0})["step"]
    for step in range(done + 1, 6):
        time.sleep(config["pause"])
        with open(f"steps/{trial.number}", "a") as file:
            file.write(f"{step} {os.getpid()}\\n")
        trial.report(step, score=config["x"] * step)
        trial.checkpoint({"step": step})
"""


@pytest.fixture
def sweep(launcher: Launcher) -> Launcher:
    """A sweep of 8 trials that takes a while, and notes each step it trains."""
    (launcher.folder / "steps").mkdir()
    launcher.write("code.py", TRAIN)
    launcher.write("killed.yaml", SWEEP.replace("trials: 12", "trials: 8"))
    return launcher


def test_a_killed_coordinator_is_started_again_and_the_budget_stays_exact(sweep: Launcher) -> None:
    driver = sweep.start("launch", "killed.yaml")
    sweep.wait_for_ended("killed", 2)
    victim = sweep.wait_for(lambda: coordinator_of(sweep.folder), "the coordinator")
    os.kill(victim, signal.SIGKILL)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err
    assert "the coordinator: its process died; starting another" in err
    trials = sweep.trials("killed")
    check_states(trials, 8)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert max(trials, key=lambda trial: trial.params["x"]).value == max(trial.value for trial in trials)
    again = [trial for trial in trials if trial.user_attrs["attempt"] > 1]
    assert 1 <= len(again) <= 2, "those in flight, and no others"
    for trial in again:
        assert not trial.user_attrs.get("deaths"), "it is held against no trial"
        assert len(steps_of(sweep, trial.number)) <= 7, "from its checkpoint"
    assert not training_processes(sweep.folder)


@pytest.mark.slow
def test_a_coordinator_that_dies_again_and_again_ends_the_sweep(sweep: Launcher) -> None:
    driver = sweep.start("launch", "killed.yaml", "base.pause=60")
    sweep.wait_for(lambda: sweep.trials("killed"), "a trial")
    killed: set[int] = set()
    for _ in range(3):
        found = sweep.wait_for(lambda: coordinator_of(sweep.folder, killed), "a coordinator", 30)
        psutil.Process(found).kill()
        killed.add(found)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert "error: the coordinator died 3 times and no trial ended: its process died" in err
    assert "go on with  hpo resume killed" in err
    assert "Traceback" not in err
    sweep.wait_for(lambda: not training_processes(sweep.folder), "no training process", 30)
