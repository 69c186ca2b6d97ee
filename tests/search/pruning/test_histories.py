"""On any history every decision of ours is Optuna's own, also after restarts and with a bare Optuna beside us."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage

from hpo.search.pruners import pruners
from hpo.storage import open_storage
from tests.search.driving import Memory
from tests.search.pruning.histories import STEPS, Pair

Cases = tuple[dict[str, Any], Callable[[], BasePruner]]
CASES: list[Cases] = [
    ({"name": "median", "n_startup_trials": 2}, lambda: optuna.pruners.MedianPruner(2)),
    (
        {"name": "percentile", "percentile": 30, "n_warmup_steps": 1, "interval_steps": 2, "n_min_trials": 3},
        lambda: optuna.pruners.PercentilePruner(30.0, 5, 1, 2, n_min_trials=3),
    ),
    ({"name": "percentile", "percentile": 100}, lambda: optuna.pruners.PercentilePruner(100.0)),
    ({"name": "percentile", "percentile": 0}, lambda: optuna.pruners.PercentilePruner(0.0)),
    ({"name": "successive_halving"}, lambda: optuna.pruners.SuccessiveHalvingPruner()),
    (
        {"name": "successive_halving", "min_resource": 1, "reduction_factor": 2, "bootstrap_count": 2},
        lambda: optuna.pruners.SuccessiveHalvingPruner(1, 2, bootstrap_count=2),
    ),
    (
        {"name": "successive_halving", "min_resource": 1, "reduction_factor": 3, "min_early_stopping_rate": 1},
        lambda: optuna.pruners.SuccessiveHalvingPruner(1, 3, 1),
    ),
    ({"name": "hyperband"}, lambda: optuna.pruners.HyperbandPruner()),
    (
        {"name": "hyperband", "max_resource": STEPS, "reduction_factor": 2, "bootstrap_count": 1},
        lambda: optuna.pruners.HyperbandPruner(1, STEPS, 2, 1),
    ),
    ({"name": "threshold", "lower": 0.2, "upper": 1.2}, lambda: optuna.pruners.ThresholdPruner(0.2, 1.2)),
    ({"name": "patient", "patience": 1, "min_delta": 0.1}, lambda: optuna.pruners.PatientPruner(None, 1, 0.1)),
    (
        {"name": "patient", "patience": 1, "wrapped": {"name": "median"}},
        lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(), 1),
    ),
    (
        {"name": "patient", "patience": 0, "wrapped": {"name": "hyperband"}},
        lambda: optuna.pruners.PatientPruner(optuna.pruners.HyperbandPruner(), 0),
    ),
    (
        {"name": "wilcoxon", "p_threshold": 0.2},
        lambda: optuna.pruners.WilcoxonPruner(p_threshold=0.2),
    ),
]
IDS = [f"{n}-{raw['name']}" for n, (raw, _) in enumerate(CASES)]
# a random program has nothing to shrink
BOUNDED = settings(
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 2**32)
DIRECTIONS = st.sampled_from(["minimize", "maximize"])

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.mark.parametrize(("raw", "reference"), CASES, ids=IDS)
def test_in_a_storage_that_is_listed(raw: dict[str, Any], reference: Callable[[], BasePruner]) -> None:
    stops = _try(raw, reference, 1 if raw["name"] == "wilcoxon" else 10)
    assert any(stops)
    assert not all(stops)


def _try(raw: dict[str, Any], reference: Callable[[], BasePruner], examples: int) -> list[bool]:
    stops: list[bool] = []

    @settings(BOUNDED, max_examples=examples)
    @given(SEEDS, DIRECTIONS, st.sampled_from([0.0, 0.05]))
    def histories(seed: int, direction: str, odd: float) -> None:
        mine = pruners.parse(raw)
        storages = Memory(), Memory()
        pair = Pair(random.Random(seed), direction, reference(), lambda: mine.build(None), storages, odd=odd)
        for _ in range(120):
            pair.act()
        pair.nothing_was_lost()
        stops.extend(stop for _, _, stop in pair.decided)

    histories()
    return stops


@pytest.mark.parametrize(("raw", "reference"), CASES[:9], ids=IDS[:9])
@settings(BOUNDED, max_examples=1)
@given(SEEDS, DIRECTIONS)
def test_in_ours_which_says_what_changed(
    raw: dict[str, Any], reference: Callable[[], BasePruner], seed: int, direction: str
) -> None:
    mine = pruners.parse(raw)
    with tempfile.TemporaryDirectory() as folder:
        opened = [open_storage(f"sqlite:///{folder}/study.db")]

        def reopen() -> BaseStorage:
            opened[-1].close()
            opened.append(open_storage(f"sqlite:///{folder}/study.db"))
            return opened[-1].optuna

        storages = Memory(), opened[-1].optuna
        pair = Pair(random.Random(seed), direction, reference(), lambda: mine.build(None), storages, reopen)
        for _ in range(80):
            pair.act()
        pair.nothing_was_lost()
        opened[-1].close()
