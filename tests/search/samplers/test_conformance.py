"""Optuna's own conformance classes, run on the samplers as we build them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from hpo.search.samplers import samplers
from hpo.space import Space

ANY = Space({})
GP = {"name": "gp", "n_startup_trials": 8}  # of ten trials in each test two are modelled: a second each otherwise
TPE = {"name": "tpe", "n_startup_trials": 0, "group": False}  # asked without a trial there are no groups yet

# Optuna's tests build things the experimental way and ask odd questions; what they assert is what counts
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def _builder(raw: Any) -> Callable[[], BaseSampler]:
    return lambda: samplers.parse(raw).build(11, ANY)


class TestBasic(BasicSamplerTestCase):
    @pytest.fixture(params=["tpe", "random", GP, "cmaes", "qmc", "nsgaii", "nsgaiii"], ids=str)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return _builder(request.param)


class TestRelative(RelativeSamplerTestCase):
    @pytest.fixture(params=[TPE, "qmc"], ids=str)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return _builder(request.param)


class TestMultiObjective(MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=["tpe", "random", "gp", "qmc", "nsgaii", "nsgaiii"], ids=str)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return _builder(request.param)


class TestSingleOnly(SingleOnlySamplerTestCase):
    @pytest.fixture(params=["cmaes"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return _builder(request.param)
