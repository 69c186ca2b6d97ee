"""What `auto` was taken for hangs on the study, not on when the process was started."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from hpo.search import attributes
from hpo.search.pruners import pruners


def _train(study: optuna.Study, steps: int, value: float = 0.5) -> int | None:
    """The step at which the trial was stopped."""
    trial = study.ask()
    for step in range(1, steps + 1):
        trial.report(value, step)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return step
    study.tell(trial, value)
    return None


@pytest.mark.parametrize(
    ("raw", "resource", "stops"), [("successive_halving", 2, 2), ({"name": "hyperband", "min_resource": 40}, 251, 40)]
)
def test_a_restart_keeps_the_rungs(raw: Any, resource: int, stops: int) -> None:
    study = optuna.create_study(study_name="s", pruner=pruners.parse(raw).build(None))
    assert attributes.RESOURCE not in study.user_attrs
    assert _train(study, 250, 0.1) is None
    study.add_trial(
        optuna.trial.create_trial(value=0.0, intermediate_values={1: 0.0}, state=optuna.trial.TrialState.COMPLETE)
    )
    for _ in range(4):
        _train(study, 250, 0.05)
    assert study.user_attrs[attributes.RESOURCE] == resource
    # a bare Optuna would now take a longer one
    study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values={2500: 0.0}))
    study.pruner = pruners.parse(raw).build(None)
    assert _train(study, 300, 0.9) == stops


def test_brackets_are_there_before_the_first_decision_of_a_process() -> None:
    """Optuna's own shows a sampler all trials until something was pruned: what it sees would hang on restarts."""
    entry = pruners.parse("hyperband")
    study = optuna.create_study(study_name="s", pruner=entry.build(None))
    for _ in range(20):
        _train(study, 20)
    brackets = []
    for _ in range(2):
        trial = study.ask()
        view = optuna.pruners._filter_study(study, trial._get_latest_trial())
        brackets.append([one.number for one in view.get_trials() if one.number < 20])
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        study.pruner = entry.build(None)
    fresh = optuna.pruners._filter_study(study, study.trials[-1])
    assert [one.number for one in fresh.get_trials() if one.number < 20] == brackets[-1]
    assert 0 < len(brackets[-1]) < 20
