"""A launch of private trainings under a constraint: who wins, and what every command says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpo.search.constraints import feasible
from tests.launching import Launcher, check_states

SWEEP = """
name: private
task: digits
space:
  privacy.noise_multiplier: {choices: [0.6, 0.7, 3.0, 4.0]}
objective: {metric: val_accuracy, direction: maximize}
constraints: ["epsilon <= 3"]
budget: {trials: 4}
sampler: grid
concurrency: 1
base: {epochs: 6, batch_size: 128, optimizer: {name: adam, lr: 0.02}}
"""


@pytest.mark.slow
def test_the_winner_is_the_best_that_meets_the_constraint(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path)
    file = launcher.write("private.yaml", SWEEP)
    done = launcher.run("launch", str(file))
    assert done.returncode == 0, done.stderr
    assert "not packed, each such trial trains by itself: privacy: the gradients of single examples" in done.stderr
    trials = launcher.trials("private")
    check_states(trials, 4)
    met = [trial for trial in trials if feasible(trial)]
    assert {trial.params["privacy.noise_multiplier"] for trial in met} == {3.0, 4.0}
    best = max(met, key=lambda trial: trial.values[0])
    assert best.values[0] < max(trial.values[0] for trial in trials), "the noise costs accuracy"
    status = launcher.run("status", "private").stdout
    assert "bounds  epsilon <= 3: met by 2 of 4" in status
    assert f"best    trial {best.number}:" in status
    launcher.run("export", "private", "-o", str(tmp_path / "best.yaml"))
    again = json.loads(launcher.run("train", str(tmp_path / "best.yaml"), "--json").stdout)
    assert again["reproduced"] is True
    assert again["metrics"]["epsilon"] == best.user_attrs["metrics"]["epsilon"]

    file.write_text(SWEEP.replace("epsilon <= 3", "epsilon <= 0.1").replace("name: private", "name: strict"))
    done = launcher.run("launch", str(file))
    assert done.returncode == 0, done.stderr
    assert "4 of 4, none meets the constraints yet" in done.stderr
    assert "best    none: no trial meets the constraints" in done.stderr + launcher.run("status", "strict").stdout
    for command in (("best", "strict"), ("export", "strict", "-o", str(tmp_path / "none.yaml"))):
        refused = launcher.run(*command)
        assert refused.returncode == 2
        assert "no trial of study 'strict' meets its constraints (epsilon <= 0.1)" in refused.stderr
    launcher.close()
