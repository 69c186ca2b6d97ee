"""Constraints: how they are read and judged, that they lie with each trial as Optuna's own, and who honours them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from optuna.trial import TrialState

from hpo.search.constraints import Constraint, Constraints
from hpo.search.keeping import kept_trials
from hpo.search.plan import Objective
from hpo.search.samplers import samplers
from tests.search.driving import SPACE, Sweep, open_sqlite, plan

METRICS = st.text(st.characters(exclude_characters="<>=", exclude_categories=["Cs", "Z", "C"]), min_size=1)
BOUNDS = st.floats(allow_nan=False, allow_infinity=False)
HOLDS = {"<=": lambda v, b: v <= b, ">=": lambda v, b: v >= b, "<": lambda v, b: v < b, ">": lambda v, b: v > b}


@given(metric=METRICS, sign=st.sampled_from(list(HOLDS)), bound=BOUNDS, gap=st.sampled_from(["", " ", "  "]))
@example("val loss", "<=", 8.0, " ")
@example("a+b", ">", -0.0, "")
def test_what_is_written_is_read_back(metric: str, sign: str, bound: float, gap: str) -> None:
    found = Constraint.parse(f"{gap}{metric}{gap}{sign}{gap}{bound!r}{gap}")
    assert found == Constraint(metric, sign, bound)
    assert Constraint.parse(str(found)) == found


@given(sign=st.sampled_from(list(HOLDS)), bound=BOUNDS, value=BOUNDS)
@example("<", 8.0, 8.0)
@example(">", 1e308, -1e308)
@example("<=", 5e-324, 0.0)
def test_a_violation_is_above_zero_exactly_where_it_is_broken(sign: str, bound: float, value: float) -> None:
    over = Constraint("m", sign, bound).violation(value)
    assert (over <= 0) == HOLDS[sign](value, bound)
    assert math.isfinite(over)


@given(text=st.text())
@example("epsilon == 8")
@example("epsilon <= 8; import os")
@example("epsilon <= __import__('os')")
@example("epsilon <= nan")
@example("epsilon <= 1e999")
@example("1 <= epsilon <= 8")
@example("<= 8")
def test_anything_else_is_refused_in_a_sentence(text: str) -> None:
    found, said = None, ""
    try:
        found = Constraint.parse(text)
    except ValueError as error:
        said = str(error)
    if found is None:
        assert said.startswith(repr(text))
    else:
        assert found.sign in HOLDS
        assert math.isfinite(found.bound)
        assert found.metric.strip()


def bounded(*texts: str, **changes: Any) -> Sweep:
    return Sweep(plan(constraints=Constraints.parse(texts), **{"trials": 40, **changes}))


def told(sweep: Sweep, score: float, **more: float) -> int:
    given = sweep.one()
    sweep.report(given, 1, score, **more)
    sweep.finish(given)
    return given.number


def test_the_best_is_the_best_that_meets_them_here_and_in_plain_optuna() -> None:
    sweep = bounded("epsilon <= 8", "score > 0.1")
    for score, epsilon in ((0.9, 9.0), (0.05, 1.0)):
        told(sweep, score, epsilon=epsilon)
    assert sweep.coordinator.snapshot().best is None
    assert sweep.one().lead.value is None
    with pytest.raises(ValueError, match="No feasible trials"):
        _ = sweep.study.best_trial
    told(sweep, 0.3, epsilon=8.0)
    told(sweep, 0.4, epsilon=8.5)
    best = sweep.coordinator.snapshot().best
    assert best is not None
    assert best.number == sweep.study.best_trial.number
    assert best.value == 0.3
    assert sweep.trial(0).system_attrs["constraints"] == [1.0, pytest.approx(-0.8)]
    assert list(sweep.trial(0).constraints.values()) == [1.0, pytest.approx(-0.8)]
    again = sweep.again()
    assert again.coordinator.snapshot().best == best, "a new run finds the same"


def test_a_metric_that_is_never_reported_fails_the_trial() -> None:
    sweep = bounded("epsilon <= 8")
    number = told(sweep, 0.5)
    assert sweep.states[number] == "FAIL"
    assert sweep.reason(number) == (
        "the constraint 'epsilon <= 8' cannot be judged: epsilon was not reported (reported: score)"
    )
    number = told(sweep, 0.5, epsilon=math.nan)
    assert sweep.reason(number) == "the constraint 'epsilon <= 8' cannot be judged: epsilon is nan"
    assert "constraints" not in sweep.trial(number).system_attrs
    given = sweep.one()
    sweep.report(given, 1, 0.5)
    sweep.finish(given, epsilon=3.0)  # what a function returns is its last report
    assert sweep.states[given.number] == "COMPLETE"


def test_a_pruned_trial_has_those_of_its_last_report() -> None:
    sweep = bounded("epsilon <= 8", pruner={"name": "threshold", "lower": 0.2})
    given = sweep.one()
    sweep.report(given, 1, 0.5, epsilon=7.0)
    sweep.report(given, 2, 0.1, epsilon=9.0)
    assert sweep.states == ["PRUNED"]
    assert sweep.trial(0).system_attrs["constraints"] == [1.0]
    other = sweep.one()
    sweep.report(other, 1, 0.1)
    assert sweep.states == ["PRUNED", "PRUNED"]
    assert sweep.trial(1).constraints == {}, "what was not reported cannot be judged, and it is no winner anyway"


def test_they_are_durable_with_the_end_of_their_trial(tmp_path: Path) -> None:
    wanted = plan(constraints=Constraints.parse(["epsilon <= 8"]))
    storage, study = open_sqlite(tmp_path, wanted)
    sweep = Sweep(wanted, study, storage=storage)
    for epsilon in (9.0, 7.0, 10.0):
        told(sweep, epsilon / 10, epsilon=epsilon)
    # as a process sees it that was not there: nothing was closed, nothing flushed by hand
    plain = optuna.load_study(study_name=wanted.study, storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [list(trial.constraints.values()) for trial in plain.get_trials()] == [[1.0], [-1.0], [2.0]]
    assert plain.best_trial.number == 1
    storage.close()


def test_the_front_holds_only_what_meets_them() -> None:
    both = (Objective("score", "maximize"), Objective("epsilon", "minimize"))
    sweep = bounded("epsilon <= 8", objectives=both)
    for score, epsilon in ((0.9, 9.0), (0.5, 4.0), (0.4, 5.0), (0.7, 8.0)):
        told(sweep, score, epsilon=epsilon)
    assert {trial.number for trial in sweep.study.best_trials} == {1, 3}


def test_checkpoints_of_the_best_that_meet_them_are_kept() -> None:
    sweep = bounded("epsilon <= 8", keep=1)
    for score, epsilon in ((0.9, 9.0), (0.5, 4.0), (0.4, 5.0), (0.1, 1.0)):
        told(sweep, score, epsilon=epsilon)
    trials = sweep.study.get_trials()
    assert kept_trials(trials, 1, Objective("score", "maximize")) == {1, 3}


HONOURING = [name for name in samplers if samplers.get(name).honours_constraints]


@pytest.mark.parametrize(
    "sampler", [pytest.param(name, marks=[pytest.mark.slow] * (name == "gp")) for name in HONOURING]
)
def test_samplers_keep_to_where_they_are_met(sampler: str) -> None:
    """The score grows with lr, which must not pass 0.01: without a look at that all would go to the top."""
    options = {"population_size": 10} if sampler.startswith("nsga") else {"n_startup_trials": 10}
    sweep = bounded("lr <= 0.01", sampler={"name": sampler, **options}, trials=60)
    free = Sweep(plan(sampler={"name": sampler, **options}, trials=60))
    for one in (sweep, free):
        for _ in range(60 if sampler != "gp" else 30):
            given = one.one()
            rate = given.params["lr"]
            one.report(given, 1, math.log(rate), lr=rate)
            one.finish(given)
    met, without = (
        sum(trial.params["lr"] <= 0.01 for trial in one.study.get_trials(states=(TrialState.COMPLETE,))[15:])
        for one in (sweep, free)
    )
    assert met > 2 * without
    assert met > 1


def test_a_sampler_that_does_not_look_at_them_says_so() -> None:
    assert samplers.parse("tpe").caveat(SPACE, constrained=True) is None
    said = samplers.parse("random").caveat(SPACE, constrained=True)
    assert said == (
        "sampler random suggests without a look at the constraints; they choose the best trial all the same"
    )
    sweep = bounded("score <= 0.4", sampler="cmaes", trials=4)
    for score in (0.1, 0.9, 0.2, 0.5):
        told(sweep, score)  # Optuna's remark on this is for its own users
    assert sweep.study.best_value == 0.2
