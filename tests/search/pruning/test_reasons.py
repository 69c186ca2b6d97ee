"""A pruned trial says why, in the words of its pruner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest

from hpo.search.pruners import pruners

CURVES = [[0.5, 0.6], [0.4, 0.7], [0.3, 0.8], [0.2, 0.9]]


def _reason(raw: Mapping[str, Any], last: Sequence[float], direction: str = "maximize") -> str:
    """Why a trial with this curve is stopped beside CURVES, which nobody stops."""
    entry = pruners.parse(raw)
    study = optuna.create_study(study_name="s", direction=direction, pruner=entry.build(9))
    for curve in [*CURVES, last]:
        trial = study.ask()
        for step, value in enumerate(curve, 1):
            trial.report(value, step)
            stopped = trial.should_prune()
            if stopped and curve is last:
                return entry.reason(study, study.get_trials(deepcopy=False)[-1])
        study.tell(trial, curve[-1])
    raise AssertionError("it was not stopped")


@pytest.mark.parametrize(
    ("raw", "last", "sentence"),
    [
        (
            {"name": "median", "n_startup_trials": 0},
            [0.45, 0.1],
            "pruned at step 2 by median: 0.45 below the median 0.75 of 4",
        ),
        (
            {"name": "percentile", "percentile": 25},
            [0.4, 0.8, 0.85],
            None,
        ),
        (
            {"name": "percentile", "percentile": 25, "n_startup_trials": 0},
            [0.45, 0.8],
            "pruned at step 2 by percentile: 0.8 below the best 25 %'s 0.825 of 4",
        ),
        (
            {"name": "median", "n_startup_trials": 0},
            [float("nan")],
            "pruned at step 1 by median: NaN so far",
        ),
        (
            {"name": "successive_halving", "min_resource": 1, "reduction_factor": 2},
            [0.25],
            "pruned at step 1 by successive_halving: 0.25 below the best half's 0.4 of 5",
        ),
        (
            {"name": "successive_halving", "min_resource": 1, "reduction_factor": 7},
            [0.25],
            "pruned at step 1 by successive_halving: 0.25 below the best 7th's 0.5 of 5",
        ),
        (
            {"name": "successive_halving", "min_resource": 1, "bootstrap_count": 5},
            [0.9],
            "pruned at step 1 by successive_halving: one of the first 5 at this rung, which all stop",
        ),
        (
            {"name": "successive_halving", "min_resource": 1},
            [float("nan")],
            "pruned at step 1 by successive_halving: NaN",
        ),
        (
            {"name": "hyperband", "max_resource": 2},
            [0.1],
            "pruned at step 1 by hyperband: 0.1 below the best third's 0.5 of 5 in bracket 0",
        ),
        (
            {"name": "threshold", "lower": 0.2},
            [0.1],
            "pruned at step 1 by threshold: 0.1 below lower 0.2",
        ),
        (
            {"name": "threshold", "upper": 0.9},
            [0.5, 1.5],
            "pruned at step 2 by threshold: 1.5 above upper 0.9",
        ),
        (
            {"name": "threshold", "lower": 0.2},
            [float("nan")],
            "pruned at step 1 by threshold: NaN",
        ),
        (
            {"name": "patient", "patience": 1},
            [0.5, 0.4, 0.3],
            "pruned at step 3 by patient: nothing better than 0.5 in the last 2 reports",
        ),
        (
            {"name": "patient", "patience": 0, "wrapped": {"name": "threshold", "lower": 0.45}},
            [0.5, 0.4],
            "pruned at step 2 by patient: 0.4 below lower 0.45; nothing better than 0.5 in the last report",
        ),
    ],
)
def test_the_reason_names_what_was_compared(raw: dict[str, Any], last: list[float], sentence: str | None) -> None:
    if sentence is None:
        with pytest.raises(AssertionError, match="not stopped"):
            _reason(raw, last)
    else:
        assert _reason(raw, last) == sentence


def test_minimizing_turns_the_words() -> None:
    raw = {"name": "median", "n_startup_trials": 0}
    assert _reason(raw, [0.9], "minimize") == "pruned at step 1 by median: 0.9 above the median 0.35 of 4"


@pytest.mark.filterwarnings("ignore::UserWarning")  # Wilcoxon's, about a trial with more steps than the best one
def test_wilcoxon_names_the_trial_that_was_better() -> None:
    entry = pruners.parse({"name": "wilcoxon", "p_threshold": 0.2})
    study = optuna.create_study(pruner=entry.build(None))
    for worse in (0.0, 1.0):
        trial = study.ask()
        for step in range(8):
            trial.report(worse + step / 100, step)
            if trial.should_prune():
                break
        else:
            study.tell(trial, worse)
    reason = entry.reason(study, study.get_trials(deepcopy=False)[-1])
    assert reason == "pruned at step 2 by wilcoxon: worse than trial 0 on the same 3 instances (p below 0.2)"


def test_a_pruner_without_reasons_gives_step_and_value() -> None:
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner())
    study.ask().report(0.75, 3)
    assert pruners.parse("median").reason(study, study.trials[0]) == "pruned at step 3 by median: value 0.75"


def test_a_reason_is_that_of_the_trial_it_was_told_of() -> None:
    entry = pruners.parse({"name": "threshold", "lower": 0.5})
    study = optuna.create_study(pruner=entry.build(None))
    first, second = study.ask(), study.ask()
    for trial in (first, second):
        trial.report(0.25, 1)
    assert first.should_prune()
    assert entry.reason(study, study.trials[0]) == "pruned at step 1 by threshold: 0.25 below lower 0.5"
    assert entry.reason(study, study.trials[1]) == "pruned at step 1 by threshold: value 0.25"
