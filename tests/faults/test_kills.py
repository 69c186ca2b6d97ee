"""kill -9 and signals in mid-sweep; then what SQL says, and what still runs."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from tests.launching import Launcher, check_states, slots, training_processes

SLOW_TRAIN = """
import os, time


def train(config, trial):
    done = (trial.resume_from or {"step": 0})["step"]
    for step in range(done + 1, 6):
        time.sleep(config["pause"])
        with open(f"steps/{trial.number}", "a") as file:  # where the sweep was launched
            file.write(f"{step} {os.getpid()}\\n")
        trial.checkpoint({"step": step})
        trial.report(step, score=config["x"] * step)
"""

SWEEP = """
name: killed
train: code.py:train
space: {x: {low: 0.0, high: 1.0}}
objective: {metric: score, direction: maximize}
budget: {trials: 12}
sampler: random
concurrency: 2
base: {pause: 0.25}
"""


@pytest.fixture
def sweep(launcher: Launcher) -> Launcher:
    """A sweep of 12 trials that takes a while, and notes each step it trains."""
    (launcher.folder / "steps").mkdir()
    launcher.write("code.py", SLOW_TRAIN)
    launcher.write("killed.yaml", SWEEP)
    return launcher


def steps_of(launcher: Launcher, number: int) -> list[int]:
    """The steps that were trained for one trial, in the order of training, all attempts."""
    lines = (launcher.folder / "steps" / str(number)).read_text().splitlines()
    return [int(line.split()[0]) for line in lines]


def test_a_killed_driver_leaves_nothing_training_and_resume_finishes_the_budget(sweep: Launcher) -> None:
    driver = sweep.start("launch", "killed.yaml")
    sweep.wait_for_ended("killed", 3)
    refused = sweep.run("launch", "killed.yaml")
    assert refused.returncode == 2
    assert re.search(rf"is being run by process {driver.pid} on ", refused.stderr)

    before = {trial.number: dict(trial.params) for trial in sweep.trials("killed")}
    assert slots(sweep.folder)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    sweep.wait_for(lambda: not training_processes(sweep.folder), "no training process", 30)

    status = sweep.run("status", "killed")
    assert "interrupted" in status.stdout
    resumed = sweep.run("resume", "killed")
    assert resumed.returncode == 0, resumed.stderr
    trials = sweep.trials("killed")
    check_states(trials, 12)
    assert {number: dict(trials[number].params) for number in before} == before
    again = [trial.number for trial in trials if trial.user_attrs["attempt"] > 1]
    assert again, "some trial was in flight"
    for number in again:  # from its checkpoint: no step was trained twice but the one that was cut
        assert len(steps_of(sweep, number)) <= 6
    assert "interrupted trials" in resumed.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_puts_trials_back_and_says_how_to_go_on(sweep: Launcher, number: signal.Signals) -> None:
    driver = sweep.start("launch", "killed.yaml")
    sweep.wait_for_ended("killed", 2)
    if number is signal.SIGINT:
        os.killpg(driver.pid, number)  # as a terminal does: the whole group
    else:
        os.kill(driver.pid, number)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "hpo resume killed" in err
    assert "Traceback" not in err
    states = {trial.state.name for trial in sweep.trials("killed")}
    assert "RUNNING" not in states
    assert "WAITING" in states
    sweep.wait_for(lambda: not training_processes(sweep.folder), "no training process", 30)
    resumed = sweep.run("launch", "killed.yaml", "--trials", "9")
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"\d+ of 9 done, \d+ to go", resumed.stderr)
    check_states(sweep.trials("killed"), 9)


def test_a_second_ctrl_c_leaves_at_once_and_is_resumable(sweep: Launcher) -> None:
    driver = sweep.start("launch", "killed.yaml", "base.pause=30")
    sweep.wait_for(lambda: sweep.trials("killed"), "a trial")
    time.sleep(1)
    os.kill(driver.pid, signal.SIGINT)
    time.sleep(1)
    os.kill(driver.pid, signal.SIGINT)
    started = time.monotonic()
    driver.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert driver.returncode == 130
    sweep.wait_for(lambda: not training_processes(sweep.folder), "no training process", 30)


def test_a_killed_worker_costs_no_trial(sweep: Launcher) -> None:
    driver = sweep.start("launch", "killed.yaml")
    sweep.wait_for_ended("killed", 2)
    victim = int(max((sweep.folder / "steps").iterdir(), key=lambda f: f.stat().st_mtime).read_text().split()[-1])
    os.kill(victim, signal.SIGKILL)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err
    trials = sweep.trials("killed")
    check_states(trials, 12)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    again = [trial for trial in trials if trial.user_attrs["attempt"] > 1]
    assert len(again) == 1
    assert len(steps_of(sweep, again[0].number)) <= 6


def test_a_trial_whose_process_keeps_dying_is_fail(launcher: Launcher) -> None:
    launcher.write(
        "code.py",
        "import os, signal\n\n\ndef train(config, trial):\n"
        "    if trial.number == 1:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return {'score': config['x']}\n",
    )
    text = SWEEP.replace("trials: 12", "trials: 4").replace("concurrency: 2", "concurrency: 1")
    done = launcher.run("launch", str(launcher.write("killed.yaml", text)))
    assert done.returncode == 0, done.stderr
    trials = launcher.trials("killed")
    check_states(trials, 4)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert "its process died 3 times" in trials[1].user_attrs["reason"]
