"""Two launches of one study: racing for a new one, taking over from a living or a stopped one; what the loser does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from hpo.storage import EventRecord, RunRecord, open_storage
from tests.faults.test_kills import SWEEP, steps_of
from tests.launching import Launcher, check_states, slots, training_processes

TRAIN = """
import os, time


def train(config, trial):
    done = (trial.resume_from or {"step": 0})["step"]
    for step in range(done + 1, 6):
        while trial.number > 1 and step == 3 and not os.path.exists("go"):
            time.sleep(0.1)
        time.sleep(config["pause"])
        with open(f"steps/{trial.number}", "a") as file:
            file.write(f"{step} {os.getpid()}\\n")
        trial.checkpoint({"step": step})
        trial.report(step, score=config["x"] * step)
"""


@pytest.fixture
def sweep(launcher: Launcher) -> Launcher:
    """A sweep of 8 trials; all but the first two wait in their third step until there is a file `go`."""
    (launcher.folder / "steps").mkdir()
    launcher.write("code.py", TRAIN)
    launcher.write("killed.yaml", SWEEP.replace("trials: 12", "trials: 8"))
    return launcher


def kept(launcher: Launcher) -> tuple[list[RunRecord], list[EventRecord]]:
    """Runs and events of the study."""
    with open_storage(launcher.url) as storage:
        records = storage.records("killed")
        return records.runs(), records.events()


def check_end(launcher: Launcher, count: int = 8) -> None:
    """Nothing lost, nothing twice, nothing running, no gap, and the winner is the best of what was trained."""
    trials = launcher.trials("killed")
    check_states(trials, count)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    for trial in trials:
        assert trial.intermediate_values == {step: trial.params["x"] * step for step in range(1, 6)}
        assert set(steps_of(launcher, trial.number)) == {1, 2, 3, 4, 5}
    best = max(trials, key=lambda trial: trial.params["x"])
    told = launcher.run("best", "killed")
    assert re.match(rf"best    trial {best.number}: score ", told.stdout)
    launcher.wait_for(lambda: not training_processes(launcher.folder), "no training process", 30)


@pytest.fixture
def stopped(sweep: Launcher) -> Iterator[subprocess.Popen[str]]:
    """A driver in mid-sweep that was sent SIGSTOP; its slots and its coordinator go on."""
    driver = sweep.start("launch", "killed.yaml")
    sweep.wait_for_ended("killed", 2)
    os.kill(driver.pid, signal.SIGSTOP)
    yield driver
    if driver.poll() is None:
        os.kill(driver.pid, signal.SIGCONT)


def test_of_two_launches_of_a_new_study_one_is_refused(sweep: Launcher) -> None:
    sweep.write("go", "")
    drivers = [sweep.start("launch", "killed.yaml", "base.pause=0.05") for _ in range(2)]
    said = {driver.pid: driver.communicate(timeout=150)[1] for driver in drivers}
    assert sorted(driver.returncode for driver in drivers) == [0, 2], said
    winner, loser = sorted(drivers, key=lambda driver: driver.returncode)
    assert re.search(rf"error: study 'killed' is being run by process {winner.pid} on \S+, since ", said[loser.pid])
    assert "Traceback" not in said[loser.pid]
    check_end(sweep)
    (run,), _ = kept(sweep)
    assert (run.holder.pid, run.reason) == (winner.pid, "done")


@pytest.mark.slow
def test_a_living_driver_that_is_taken_over_ends_and_writes_nothing_more(sweep: Launcher) -> None:
    first = sweep.start("launch", "killed.yaml")
    sweep.wait_for_ended("killed", 2)
    second = sweep.start("resume", "killed", "--takeover")
    sweep.wait_for(lambda: len(kept(sweep)[0]) == 2, "the takeover")
    sweep.write("go", "")
    _, err = first.communicate(timeout=120)
    assert first.returncode == 1
    assert re.search(rf"error: study 'killed' was taken over by process {second.pid} on ", err)
    assert "hint: what was told before is stored; the other run goes on with it" in err
    assert "hpo resume" not in err
    assert "Traceback" not in err
    _, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    check_end(sweep)
    (old, new), events = kept(sweep)
    assert (old.holder.pid, new.holder.pid, new.reason) == (first.pid, second.pid, "done")
    assert old.reason is not None
    assert old.reason.startswith(f"taken over by process {second.pid} on ")
    assert new.fencing > old.fencing
    assert [event.run for event in events] == sorted(event.run or 0 for event in events), "the old one wrote no more"
    kinds = [event.kind for event in events if event.run == new.id]
    assert kinds[:2] == ["resumed", "takeover"]
    assert kinds[-1] == "finished"


@pytest.mark.slow
def test_a_stopped_driver_is_taken_over_after_ten_silent_seconds_and_ends_when_it_goes_on(
    sweep: Launcher, stopped: subprocess.Popen[str]
) -> None:
    began = time.monotonic()
    second = sweep.start("launch", "killed.yaml")
    sweep.wait_for(lambda: len(kept(sweep)[0]) == 2, "the takeover", 60)
    assert time.monotonic() - began > 10
    sweep.write("go", "")
    # whoever trained for the stopped one is sent away, though nobody drives it
    sweep.wait_for(lambda: all(of(process, second) for process in slots(sweep.folder)), "no slot of the old one", 30)
    at_takeover = kept(sweep)
    os.kill(stopped.pid, signal.SIGCONT)
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 1
    assert re.search(rf"error: study 'killed' was taken over by process {second.pid} on ", err)
    assert "Traceback" not in err
    _, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert f"study 'killed' is held by process {stopped.pid} on " in err
    assert "watching for 10 s whether it lives\nit was silent for 10 s: taken for dead" in err
    check_end(sweep)
    (old, new), events = kept(sweep)
    assert (old, new.reason) == (at_takeover[0][0], "done")
    of_old = [event for event in at_takeover[1] if event.run == old.id]
    assert [event for event in events if event.run == old.id] == of_old, "the old one wrote no more"


def of(process: psutil.Process, driver: subprocess.Popen[str]) -> bool:
    """Whether `driver` started the Ray that this process belongs to."""
    try:
        return driver.pid in (parent.pid for parent in process.parents())
    except psutil.NoSuchProcess:
        return True
