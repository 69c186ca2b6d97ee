"""Trials of two workers in real sweeps: pruned, killed, hung, stopped; then what SQL says, and what still runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.launching import Launcher, check_states, training_processes, workers_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DIGITS = """
name: duo
task: digits
space:
  optimizer.lr: {low: 1e-3, high: 1.0, log: true}
  regularization.dropout: {low: 0.0, high: 0.6}
objective: {metric: val_loss, direction: minimize}
budget: {trials: 6}
pruner: {name: hyperband, min_resource: 1, reduction_factor: 3}
trial: {workers: 2}
base: {epochs: 4, batch_size: 50, model: {name: cnn}, optimizer: {name: sgd}}
"""

OWN = """
import os, time

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def train(config, trial):
    torch.manual_seed(trial.seed)
    net = DistributedDataParallel(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    state = trial.resume_from or {"step": 0, "net": net.module.state_dict()}
    net.module.load_state_dict(state["net"])
    for step in range(state["step"] + 1, 6):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        loss = net(x[trial.rank :: trial.workers]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(config["pause"])
        with open(f"steps/{trial.number}", "a") as file:
            file.write(f"{step} {trial.rank} {os.getpid()}\\n")
        if config["odd"] and trial.number == 1 and trial.rank == 1 and step == 2:
            raise ValueError("rank 1 has had enough")
        if config["hangs"] and trial.number == 1 and step == 2:
            time.sleep(1000)
        trial.checkpoint({"step": step, "net": net.module.state_dict()})
        trial.report(step, score=config["x"] * step)
"""

SWEEP = """
name: own
train: code.py:train
space: {x: {low: 0.0, high: 1.0}}
objective: {metric: score, direction: maximize}
budget: {trials: 5}
sampler: random
trial: {workers: 2}
base: {pause: 0.5, odd: false, hangs: false}
"""


@pytest.fixture
def own(launcher: Launcher) -> Launcher:
    """A sweep of a user's own loop, that notes which worker trained which step."""
    (launcher.folder / "steps").mkdir()
    launcher.write("code.py", OWN)
    launcher.write("own.yaml", SWEEP)
    return launcher


def steps_of(launcher: Launcher, number: int, rank: int = 0) -> list[int]:
    lines = (launcher.folder / "steps" / str(number)).read_text().splitlines()
    return [int(line.split()[0]) for line in lines if int(line.split()[1]) == rank]


def test_a_sweep_with_pruning_whose_winner_one_process_trains_again(launcher: Launcher) -> None:
    launcher.write("duo.yaml", DIGITS)
    done = launcher.run("launch", "duo.yaml")
    assert done.returncode == 0, done.stderr
    trials = launcher.trials("duo")
    check_states(trials, 6)
    assert {"COMPLETE", "PRUNED"} <= {trial.state.name for trial in trials}
    assert {trial.user_attrs["workers"] for trial in trials} == {2}
    assert "of 2 workers, each 1 CPUs, 0 GPUs" in done.stderr
    assert "trained by 2 workers: by itself first" in done.stderr
    assert "pack: off, since 2 workers train one trial at a time" in launcher.run("log", "duo").stdout
    launcher.wait_for(lambda: not training_processes(launcher.folder), "no training process", 30)
    for number in [trial.number for trial in trials if trial.state.name == "COMPLETE"]:
        assert launcher.run("export", "duo", "--trial", str(number), "-o", "best.yaml").returncode == 0
        again = launcher.run("train", "best.yaml")
        assert again.returncode == 0, again.stderr
        assert again.stdout.startswith("reproduced")


def test_a_killed_worker_costs_no_trial(own: Launcher) -> None:
    driver = own.start("launch", "own.yaml", "--trials", "3")
    own.wait_for(lambda: (own.folder / "steps" / "1").exists() and len(steps_of(own, 1)) >= 2, "two steps of trial 1")
    victim = int((own.folder / "steps" / "1").read_text().splitlines()[-1].split()[2])
    os.kill(victim, signal.SIGKILL)
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    trials = own.trials("own")
    check_states(trials, 3)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    assert [trial.user_attrs["attempt"] for trial in trials] == [1, 2, 1]
    assert len(steps_of(own, 1)) <= 6, "it went on from its checkpoint"
    own.wait_for(lambda: not training_processes(own.folder), "no training process", 30)


def test_a_killed_driver_leaves_nothing_training_and_a_signal_puts_trials_back(own: Launcher) -> None:
    driver = own.start("launch", "own.yaml")
    own.wait_for(lambda: (own.folder / "steps" / "0").exists(), "a step")
    assert len(workers_of(own.folder)) == 2
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    own.wait_for(lambda: not training_processes(own.folder), "no training process", 30)

    driver = own.start("resume", "own")
    own.wait_for_ended("own", 2)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "Traceback" not in err
    states = [trial.state.name for trial in own.trials("own")]
    assert "RUNNING" not in states
    assert "WAITING" in states
    own.wait_for(lambda: not training_processes(own.folder), "no training process", 30)


def test_one_that_hangs_is_killed_with_its_workers(own: Launcher) -> None:
    driver = own.start("launch", "own.yaml", "--trials", "3", "base.hangs=true", "base.pause=0.05", "trial.timeout=6s")
    _, err = driver.communicate(timeout=600)  # two starts of a group
    assert driver.returncode == 0, err
    trials = own.trials("own")
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[1].user_attrs["reason"].startswith("timed out")
    own.wait_for(lambda: not training_processes(own.folder), "no training process", 30)


def test_what_one_worker_raises_is_held_against_the_trial(own: Launcher) -> None:
    done = own.run("launch", "own.yaml", "--trials", "3", "base.odd=true", "base.pause=0.05")
    assert done.returncode == 0, done.stderr
    trials = own.trials("own")
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[1].user_attrs["reason"] == "worker 1: ValueError: rank 1 has had enough"
    log = Path(trials[1].user_attrs["log"]).read_text()
    assert "ValueError: rank 1 has had enough" in log


def test_workers_that_no_cluster_has_room_for(launcher: Launcher) -> None:
    launcher.write("duo.yaml", DIGITS)
    cores = psutil.cpu_count()
    refused = launcher.run("launch", "duo.yaml", f"trial.workers={cores + 1}")
    assert refused.returncode == 2
    wanted = f"trial.workers: {cores + 1} of 1 CPUs and 0 GPUs each asked, there is room for {cores}"
    assert wanted in refused.stderr
    assert not (launcher.folder / "hpo.db").exists() or not launcher.trials("duo")
