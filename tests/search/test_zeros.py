"""Parameters that may be 0, in a search: how often they are, what is learned of it, and the first trial."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from hpo.search.samplers import samplers
from hpo.space import Choice, Float, Int, Space
from tests.search.driving import Sweep, plan

SPACE = Space(
    {
        "lr": Float(1e-4, 1.0, log=True, default=0.1),
        "decay": Float(1e-6, 1e-2, log=True, zero=0.2, default=0.0),
        "kind": Choice({"plain": {}, "deep": {"depth": Int(1, 3, zero=0.9)}}, default="plain"),
    }
)


def shares(sampler: Any, trials: int, good: float = 0.0) -> tuple[float, int]:
    """How often `decay` was off, and how many were asked; a trial with it off is worth `good` more."""
    study = optuna.create_study(sampler=samplers.parse(sampler).build(3, SPACE), direction="maximize")
    off = 0
    for _ in range(trials):
        trial = study.ask()
        SPACE.validate(SPACE.suggest(trial))
        off += not trial.params["decay.on"]
        study.tell(trial, good * (not trial.params["decay.on"]) - abs(trial.params["lr"] - 0.1))
    return off / trials, trials


@pytest.mark.parametrize("name", ["random", "cmaes", "qmc"])
def test_zero_comes_with_its_probability_where_it_is_drawn_at_random(name: str) -> None:
    share, trials = shares({"name": name}, 400)
    assert abs(share - 0.2) < 3 * (0.2 * 0.8 / trials) ** 0.5


@pytest.mark.parametrize("options", [{}, {"multivariate": False, "group": False}])
def test_tpe_begins_with_it_and_learns(options: dict[str, Any]) -> None:
    first, trials = shares({"name": "tpe", "n_startup_trials": 200, **options}, 200)
    assert abs(first - 0.2) < 3 * (0.2 * 0.8 / trials) ** 0.5
    learned, _ = shares({"name": "tpe", "n_startup_trials": 20, **options}, 120, good=5.0)
    assert learned > 0.6


@pytest.mark.parametrize("name", ["gp", "nsgaii", "nsgaiii"])
def test_every_sampler_takes_such_a_space(name: str) -> None:
    share, _ = shares({"name": name}, 12)
    assert 0 <= share < 1


def test_an_exhaustive_search_finds_each_point_once() -> None:
    space = Space({"a": Int(1, 2, zero=0.5, default=1), "b": Choice(["x", "y"])})
    sweep = Sweep(plan(space=space, sampler="brute_force", trials=20), slots="a")
    for _ in range(6):
        sweep.complete()
    assert sweep.ask() == ()
    points = {(space.settings(t.params)["a"], t.params["b"]) for t in sweep.study.trials}
    assert points == {(a, b) for a in (0, 1, 2) for b in "xy"}


def test_the_first_trial_of_a_fresh_study_has_the_defaults() -> None:
    sweep = Sweep(plan(space=SPACE, sampler="tpe"), slots="a")
    given = sweep.complete()
    assert (given.number, given.params) == (0, {"decay": 0.0, "kind": "plain", "lr": 0.1})
    assert sweep.trial(0).user_attrs["default"] is True
    second = sweep.complete()
    assert (second.number, "default" in sweep.trial(1).user_attrs) == (1, False)
    assert second.params["lr"] != 0.1
    assert len(sweep.again().study.trials) == 2, "a study that goes on has had its first trial"


def test_what_has_no_default_is_drawn_in_the_first_trial() -> None:
    space = Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0, default=0.25)})
    drawn = [Sweep(plan(space=space, seed=seed), slots="a").one().params for seed in range(2)]
    assert [params["b"] for params in drawn] == [0.25, 0.25]
    assert drawn[0]["a"] != drawn[1]["a"]


def test_a_tie_without_a_value_fails_the_trial_with_its_reason() -> None:
    space = Space({"depth": Int(0, 1)}, tie={"width": "8 / depth"})
    sweep = Sweep(plan(space=space, trials=20), slots="a")
    while given := sweep.ask():
        assert given[0].params == {"depth": 1, "width": 8.0}
        sweep.report(given[0], 1, 0.5)
        sweep.finish(given[0])
    failed = [trial for trial in sweep.study.trials if trial.state.name == "FAIL"]
    assert failed
    reason = "space.tie.width: '8 / depth' divides by zero with depth = 0"
    assert {trial.user_attrs["reason"] for trial in failed} == {reason}


def test_trials_of_one_pack_agree_on_the_names_of_the_study() -> None:
    wanted = plan(space=SPACE, trials=40, pack=8, structural=frozenset({"decay.on", "kind"}), sampler="random")
    sweep = Sweep(wanted, slots="a")
    given = sweep.ask(free=8)
    drawn = [sweep.trial(one.number).params for one in given if one.number > 0]  # the first is the default
    assert len({(params["decay.on"], params["kind"]) for params in drawn}) == 1
    assert all(("decay" in params) == params["decay.on"] for params in drawn)
