"""The wall clock jumps back an hour in mid-sweep: dates are wrong from then on, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from libfaketime import get_reload_information

from hpo.storage import open_storage
from tests.faults.test_kills import SWEEP
from tests.faults.test_one_driver import TRAIN
from tests.launching import Launcher, check_states, training_processes

pytestmark = pytest.mark.slow


@pytest.fixture
def clock(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that says by how much every process of a launch is off the true time; monotonic clocks stay true."""
    clock = launcher.write("clock", "+0")
    _, library = get_reload_information()
    for name, value in library.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    return clock


def test_a_clock_that_jumps_back_an_hour_changes_nothing(launcher: Launcher, clock: Path) -> None:
    (launcher.folder / "steps").mkdir()
    launcher.write("code.py", TRAIN)
    launcher.write("killed.yaml", SWEEP.replace("{trials: 12}", "{trials: 12, time: 20m}\ntrial: {timeout: 5m}"))
    driver = launcher.start("launch", "killed.yaml")
    launcher.wait_for_ended("killed", 2)  # the others wait for the file `go`
    clock.write_text("-1h")
    # it is still known that the driver lives, by whoever sees the same clock
    refused = launcher.run("launch", "killed.yaml")
    assert refused.returncode == 2, refused.stderr
    assert re.search(rf"is being run by process {driver.pid} on ", refused.stderr)
    launcher.write("go", "")
    _, err = driver.communicate(timeout=200)
    assert driver.returncode == 0, err
    trials = launcher.trials("killed")
    check_states(trials, 12)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert all(trial.user_attrs["attempt"] == 1 for trial in trials), "nobody was taken for late or dead"
    assert any(trial.duration.total_seconds() < -3000 for trial in trials), "the clock did jump"
    spent = [float(seconds) for seconds in re.findall(r"^trial \d+ .* \((-?[0-9.]+) s\); ", err, re.MULTILINE)]
    assert len(spent) == 12
    assert all(1.0 < seconds < 200 for seconds in spent)
    with open_storage(launcher.url) as storage:
        (run,) = storage.records("killed").runs()
    assert run.ended is not None
    assert run.ended < run.holder.since, "dates tell what the clock said"
    assert 0 < run.seconds < 200
    assert run.reason == "done"
    launcher.wait_for(lambda: not training_processes(launcher.folder), "no training process", 30)
