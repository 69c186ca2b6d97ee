"""Whole launches in packs: real Ray, a real database; the same trials as one by one, and none lost when a slot dies."""

from __future__ import annotations

import os
import re
import signal

import optuna
import pytest

from tests.launching import Launcher, check_states, slots

pytestmark = pytest.mark.slow

DIGITS = """
name: packed
task: digits
space:
  optimizer.lr: {low: 1e-3, high: 1.0, log: true}
  regularization.dropout: {low: 0.0, high: 0.6}
  schedule.name: {choices: {constant: {}, cosine: {schedule.warmup_fraction: {low: 0.0, high: 0.1}}}}
objective: {metric: val_accuracy, direction: maximize}
budget: {trials: 40}
sampler: random
concurrency: 2
pack: 8
base: {epochs: 6, model: {name: mlp, width: 32}}
"""


def params(trials: list[optuna.trial.FrozenTrial]) -> list[object]:
    return [(trial.number, trial.params, trial.user_attrs["seed"]) for trial in trials]


def test_a_sweep_in_packs_is_the_sweep_one_by_one(launcher: Launcher) -> None:
    file = str(launcher.write("packed.yaml", DIGITS))
    for name, pack in (("packed", "8"), ("alone", "off")):
        done = launcher.run("launch", file, "--name", name, "--pack", pack, "space.optimizer.lr.high=0.1")
        assert done.returncode == 0, done.stderr
        assert bool(re.search(r"packs: \d+% of their rows were training", done.stderr)) == (pack == "8")
    packed, alone = launcher.trials("packed"), launcher.trials("alone")
    check_states(packed, 40)
    assert params(packed) == params(alone)
    assert {trial.state.name for trial in packed} == {"COMPLETE"}
    differ = [abs(p.value - a.value) for p, a in zip(packed, alone, strict=True)]  # by examples of 360
    assert max(differ) < 0.02
    assert sum(gap > 1e-9 for gap in differ) < 10


def test_pruning_and_failing_in_packs_keeps_the_count(launcher: Launcher) -> None:
    text = DIGITS.replace("high: 1.0, log", "high: 1000.0, log")
    text += "pruner: {name: successive_halving, min_resource: 1, reduction_factor: 2}\n"
    done = launcher.run("launch", str(launcher.write("packed.yaml", text)), "--trials", "80")
    assert done.returncode == 0, done.stderr
    trials = launcher.trials("packed")
    check_states(trials, 80)
    assert {trial.state.name for trial in trials} >= {"COMPLETE", "PRUNED"}
    busy = re.search(r"packs: (\d+)% of their rows were training", done.stderr)
    assert busy is not None, done.stderr
    assert int(busy[1]) >= 90


def test_a_killed_slot_loses_none_of_its_members(launcher: Launcher) -> None:
    text = DIGITS.replace("epochs: 6", "epochs: 150").replace("trials: 40", "trials: 16")
    driver = launcher.start("launch", str(launcher.write("packed.yaml", text)), "checkpoints.every=1s")
    launcher.wait_for(
        lambda: sum(len(trial.intermediate_values) > 20 for trial in launcher.trials("packed")) >= 12,
        "members in training",
    )
    victim = slots(launcher.folder)[0]
    os.kill(victim.pid, signal.SIGKILL)
    _, err = driver.communicate(timeout=200)
    assert driver.returncode == 0, err
    trials = launcher.trials("packed")
    check_states(trials, 16)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    again = [trial for trial in trials if trial.user_attrs["attempt"] == 2]
    assert len(again) == 8
    assert {trial.user_attrs["deaths"] for trial in again} <= {0, 1}
    assert all(len(trial.intermediate_values) == 150 for trial in trials)


def test_an_interrupt_puts_packs_back_and_resume_finishes_them(launcher: Launcher) -> None:
    text = DIGITS.replace("epochs: 6", "epochs: 150").replace("trials: 40", "trials: 16")
    driver = launcher.start("launch", str(launcher.write("packed.yaml", text)))
    launcher.wait_for(
        lambda: sum(len(trial.intermediate_values) > 20 for trial in launcher.trials("packed")) >= 12,
        "members in training",
    )
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    left = launcher.trials("packed")
    assert {trial.state.name for trial in left} == {"WAITING"}
    resumed = launcher.run("resume", "packed", "--pack", "16", "--concurrency", "1")
    assert resumed.returncode == 0, resumed.stderr
    trials = launcher.trials("packed")
    check_states(trials, 16)
    for before, after in zip(left, trials, strict=True):
        steps = before.intermediate_values
        assert {step: after.intermediate_values[step] for step in steps} == steps
