"""Studies to report on, made of finished trials so that every value in them is known."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

NOON = datetime.datetime(2026, 3, 1, 12)
SPEC = {
    "name": "digits",
    "task": "digits",
    "objective": {"metric": "val_accuracy", "direction": "maximize", "at": "last"},
    "sampler": {"name": "tpe"},
    "base": {"epochs": 20, "batch_size": 32, "model": {"name": "mlp", "width": 64}},
}


def distribution(value: object) -> BaseDistribution:
    return FloatDistribution(1e-6, 1e6, log=True) if isinstance(value, float) else CategoricalDistribution([value, "-"])


def trial(
    values: float | Sequence[float] | None = None,
    state: TrialState = TrialState.COMPLETE,
    params: Mapping[str, Any] | None = None,
    curve: Sequence[float] = (),
    start: float = 0,
    seconds: float = 1,
    attrs: Mapping[str, Any] | None = None,
    constraints: Sequence[float] | None = None,
) -> FrozenTrial:
    """A trial as the study holds it after its end; `curve` is reported from step 1, `start` counts from noon."""
    params = dict(params or {})
    made = create_trial(
        state=state,
        values=[values] if isinstance(values, int | float) else values,
        params=params,
        distributions={name: distribution(value) for name, value in params.items()},
        intermediate_values=dict(enumerate(curve, 1)),
        user_attrs=dict(attrs or {}),
        system_attrs={} if constraints is None else {"constraints": list(constraints)},
    )
    made.datetime_start = NOON + datetime.timedelta(seconds=start)
    if state.is_finished():
        made.datetime_complete = made.datetime_start + datetime.timedelta(seconds=seconds)
    return made


def study(
    *trials: FrozenTrial, directions: Sequence[str] = ("maximize",), spec: Mapping[str, Any] | None = SPEC
) -> optuna.Study:
    made = optuna.create_study(directions=list(directions), study_name="digits")
    if spec is not None:
        made.set_user_attr("hpo:sweep", json.dumps({"keys": spec, "digests": {}, "folder": "/"}))
    made.add_trials(trials)
    return made


@pytest.fixture(name="trial")
def trial_maker() -> Callable[..., FrozenTrial]:
    return trial


@pytest.fixture(name="study")
def study_maker() -> Callable[..., optuna.Study]:
    return study


@pytest.fixture(autouse=True)
def quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
