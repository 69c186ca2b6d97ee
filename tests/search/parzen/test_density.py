"""Our densities are Optuna's but for rounding, and where rounding may count they are not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import default_weights

from hpo.search.parzen.density import SLACK, Density, Unranked
from hpo.search.parzen.sampler import IndexedTPE
from hpo.search.seeds import SeededSampler

SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(-2.0, 5.0),
    "lr": FloatDistribution(1e-7, 1.0, log=True),
    "grid": FloatDistribution(0.0, 1.0, step=0.125),
    "n": IntDistribution(1, 100),
    "m": IntDistribution(1, 5000, log=True),
    "kind": CategoricalDistribution(("a", "b", None)),
}
PARAMETERS = TPESampler(seed=0)._parzen_estimator_parameters


def _values(rng: np.random.Generator, count: int) -> dict[str, Any]:
    """Internal values of `count` trials, crowded around one point as those of a good sampler are."""
    share = np.clip(0.3 + 0.1 * rng.standard_cauchy((len(SPACE), count)), 0.0, 1.0)
    return {
        "x": -2.0 + 7.0 * share[0],
        "lr": np.clip(10 ** (-7 * share[1]), 1e-7, 1.0),
        "grid": np.round(8 * share[2]) / 8,
        "n": np.round(1 + 99 * share[3]),
        "m": np.round(5000 ** share[4]),
        "kind": np.floor(2.999 * share[5]),
    }


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.integers(0, 2**32), st.sampled_from([0, 1, 2, 3, 30, 400]), st.sets(st.sampled_from(sorted(SPACE)), min_size=1)
)
def test_rounding_is_a_thousandth_of_the_slack(seed: int, count: int, names: set[str]) -> None:
    space = {name: domain for name, domain in SPACE.items() if name in names}
    observed = {name: values for name, values in _values(np.random.default_rng(seed), count).items() if name in space}
    theirs = _ParzenEstimator(observed, space, PARAMETERS)
    points = theirs.sample(np.random.RandomState(seed), 24)
    found = Density(observed, space, default_weights).log_at(points)
    assert np.abs(found - theirs.log_pdf(points)).max() < SLACK / 1000


@pytest.mark.parametrize(
    ("domain", "observed", "point"),
    [
        (FloatDistribution(0.0, 1.0), [0.5, 2.0], 0.5),  # observed in another, wider domain
        (FloatDistribution(0.0, 1.0), [0.5], 1.0),  # at the very bound
        (IntDistribution(0, 10**9), [5.0], 7.0),  # cells a billionth of the kernels
    ],
)
def test_where_rounding_is_not_small_optuna_ranks(
    domain: BaseDistribution, observed: list[float], point: float
) -> None:
    density = Density({"x": np.array(observed)}, {"x": domain}, default_weights)
    with pytest.raises(Unranked):
        density.log_at({"x": np.array([point])})


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(("space", "by_optuna"), [(SPACE, False), ({"n": IntDistribution(0, 10**9)}, True)])
def test_after_many_trials_suggestions_are_still_optunas(
    space: dict[str, BaseDistribution], by_optuna: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = []
    for kind in (TPESampler, IndexedTPE):
        study = optuna.create_study(sampler=RandomSampler(seed=0))
        source = optuna.create_study(sampler=RandomSampler(seed=0))
        for number in range(1200):
            params = source.ask(space).params
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=space, value=params["n"] + number % 7)
            )
        study.sampler = SeededSampler(kind(seed=0, multivariate=True, group=True), 1)
        studies.append(study)
    ranked: list[bool] = []
    place: Callable[..., int | None] = IndexedTPE._place

    def counted(*given: Any) -> int | None:
        found = place(*given)
        ranked.append(found is None)
        return found

    monkeypatch.setattr(IndexedTPE, "_place", counted)
    for _ in range(3):
        theirs, ours = (study.ask(space) for study in studies)
        assert ours.params == theirs.params
        for study, trial in zip(studies, (theirs, ours), strict=True):
            study.tell(trial, 0.5)
    assert ranked == [by_optuna] * 3
