"""kill -9 of everything at random instants of one sweep, again and again; then what SQL says. Takes many minutes."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hpo.testing.storage import PostgresServer
from tests.launching import LAUNCH_LIMIT, Launcher, check_states, coordinator_of, slots, training_processes

TRAIN = """
import time


def train(config, trial):
    state = trial.resume_from or {"step": 0}
    for step in range(state["step"] + 1, 6):
        time.sleep(0.3)
        if step % 2 == 0:
            trial.checkpoint({"step": step})
        trial.report(step, score=config["x"] * step, half=config["x"] / 2, small=config["y"])
"""

SWEEP = """
name: soak
train: code.py:train
space: {{x: {{low: 0.0, high: 1.0}}, y: {{low: 1.0e-4, high: 1.0, log: true}}}}
objective: {{metric: score, direction: maximize}}
budget: {{trials: {trials}}}
sampler: {{name: tpe, n_startup_trials: 5}}
pruner: {{name: median, n_startup_trials: 8, n_warmup_steps: 2}}
concurrency: 2
failures: {{max_in_a_row: 50}}
base: {{}}
"""
IN_TRAINING = 0.8
"""The share of kills that strike once something is trained; the others strike at any time since the launch."""
ENDED = re.compile(r"^trial (\d+) (?:complete|pruned|failed)", re.MULTILINE)


@dataclass
class Soak:
    """One sweep, its driver started anew whenever it is gone, and what was ever seen as finished."""

    launcher: Launcher
    trials: int
    chance: random.Random
    kills: dict[str, int] = field(default_factory=dict)
    finished: dict[int, tuple[object, ...]] = field(default_factory=dict)
    driver: subprocess.Popen[str] | None = None
    said: Path = Path()

    def start(self) -> None:
        """Launch, or launch again: the same command."""
        self.said = self.launcher.folder / f"said-{len(self.launcher.started)}"
        self.driver = self.launcher.start("launch", "soak.yaml", into=self.said)

    def kill(self, victims: tuple[str, ...]) -> None:
        """One of the living `victims`, at once."""
        assert self.driver is not None
        found: list[tuple[str, int]] = [("driver", self.driver.pid)] if "driver" in victims else []
        if "slot" in victims:
            found += [("slot", process.pid) for process in slots(self.launcher.folder)]
        coordinator = coordinator_of(self.launcher.folder) if "coordinator" in victims else None
        if coordinator is not None:
            found.append(("coordinator", coordinator))
        if not found:
            return
        name, pid = self.chance.choice(sorted(found))
        os.kill(pid, signal.SIGKILL)
        self.kills[name] = self.kills.get(name, 0) + 1
        if name == "driver":
            self.driver.wait()
            self.check_nothing_lost()
            self.start()

    def wait_for_training(self) -> None:
        """Until a slot is there, or the driver is gone: on a busy machine Ray starts for longer than it may live."""
        assert self.driver is not None
        until = time.monotonic() + LAUNCH_LIMIT
        while self.driver.poll() is None and time.monotonic() < until:
            if slots(self.launcher.folder):
                return
            time.sleep(0.1)

    def check_nothing_lost(self) -> None:
        """What was finished once stays as it was; what the driver has said is in SQL; numbers are dense and single."""
        trials = self.launcher.trials("soak")
        assert [trial.number for trial in trials] == list(range(len(trials)))
        now = {
            trial.number: (trial.state, trial.values, trial.params, trial.intermediate_values)
            for trial in trials
            if trial.state.is_finished()
        }
        lost = {number for number, was in self.finished.items() if now.get(number) != was}
        assert not lost, f"trials {sorted(lost)} were finished, and are not what they were"
        said = {int(number) for number in ENDED.findall(self.said.read_text())}
        assert said <= now.keys(), f"trials {sorted(said - now.keys())} were said to have ended"
        self.finished = now

    def run(self, kills: int, victims: tuple[str, ...], longest: float) -> None:
        """`kills` kills at random instants, then to the end."""
        self.start()
        while sum(self.kills.values()) < kills:
            if self.chance.random() < IN_TRAINING:
                self.wait_for_training()
            time.sleep(self.chance.uniform(0.0, longest))
            assert self.driver is not None
            if self.driver.poll() is None:
                self.kill(victims)
                continue
            assert self.driver.returncode != 0, f"all trials had ended after {self.kills}: too few for so many kills"
            self.start()  # its coordinator was killed too often in a row
        assert self.driver is not None
        if self.driver.poll() is None:
            self.driver.wait(LAUNCH_LIMIT)
        if self.driver.returncode != 0:
            self.start()
            assert self.driver.wait(LAUNCH_LIMIT) == 0, self.said.read_text()
        self.check_end()

    def check_end(self) -> None:
        """The budget to the trial, nothing lost that was finished, the best is the best, nobody trains."""
        self.check_nothing_lost()
        trials = self.launcher.trials("soak")
        check_states(trials, self.trials)
        complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
        for trial in trials:
            assert trial.state.name != "FAIL" or "its process died" in trial.user_attrs["reason"]
            expected = {step: trial.params["x"] * step for step in trial.intermediate_values}
            assert trial.intermediate_values == expected
        for trial in complete:
            assert sorted(trial.intermediate_values) == [1, 2, 3, 4, 5]
        best = max(complete, key=lambda trial: (trial.value, -trial.number))
        assert f"trial {best.number}" in self.launcher.run("best", "soak").stdout
        self.launcher.wait_for(lambda: not training_processes(self.launcher.folder), "no training process", 30)

    def told(self) -> str:
        """What was done, and what `check_end` found in SQL after it."""
        kills = ", ".join(f"{count} of a {name}" for name, count in sorted(self.kills.items()))
        return (
            f"{sum(self.kills.values())} kills ({kills}): {len(self.finished)} of {self.trials} trials ended, "
            "0 finished trials lost, 0 duplicates, budget exact"
        )


def soak(launcher: Launcher, trials: int, seed: int) -> Soak:
    """A sweep of `trials` short trials; seed: of the instants and victims."""
    launcher.write("code.py", TRAIN)
    launcher.write("soak.yaml", SWEEP.format(trials=trials))
    return Soak(launcher, trials, random.Random(seed))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_of_the_driver(launcher: Launcher) -> None:
    one = soak(launcher, 60, seed=1)
    one.run(20, ("driver",), longest=4.0)
    print(one.told())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_of_the_driver_on_postgresql(tmp_path: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.database()
    launcher = Launcher(tmp_path, url)
    try:
        one = soak(launcher, 60, seed=2)
        one.run(20, ("driver",), longest=4.0)
        print(one.told())
    finally:
        launcher.close()
        postgres_server.drop(url)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_a_hundred_kills_of_anything(launcher: Launcher) -> None:
    one = soak(launcher, 200, seed=3)
    one.run(100, ("driver", "slot", "coordinator"), longest=3.0)
    print(one.told())
