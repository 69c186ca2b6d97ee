"""Samplers that come to an end: every point once, then the sweep ends below its budget and says so."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hpo.search.messages import Lost
from hpo.search.states import State
from hpo.space import Choice, Float, Int, Space
from hpo.training import Verdict
from tests.search.driving import Sweep, plan

FLAT = Space({"lr": Float(0.1, 0.3, step=0.1), "kind": Choice(["a", "b"])})  # 6 points
TREE = Space({"kind": Choice({"plain": {}, "deep": {"depth": Int(1, 3), "head": Choice(["x", "y"])}})})  # 7 points
FINITE = [("grid", FLAT), ("brute_force", FLAT), ("brute_force", TREE)]
NOTE = "every point of the space was tried"


def points(sweep: Sweep) -> list[tuple[Any, ...]]:
    return [tuple(sorted(trial.params.items())) for trial in sweep.study.get_trials(deepcopy=False)]


def check_exhausted(sweep: Sweep, space: Space) -> None:
    assert len(points(sweep)) == len(set(points(sweep))) == space.size()
    snapshot = sweep.coordinator.snapshot()
    assert (snapshot.over, snapshot.running, snapshot.failure) == (True, 0, None)
    assert snapshot.note == f"sampler {sweep.plan.sampler.name}: {NOTE}"
    assert snapshot.total == space.size()
    assert set(sweep.states) <= {"COMPLETE", "PRUNED", "FAIL"}


@pytest.mark.parametrize(("sampler", "space"), FINITE)
@pytest.mark.parametrize("trials", [40, None])
def test_an_exhausted_sampler_ends_the_sweep_below_its_budget_and_says_so(
    sampler: str, space: Space, trials: int | None
) -> None:
    sweep = Sweep(plan(sampler=sampler, space=space, trials=trials, seconds=1e6))
    while not sweep.coordinator.is_over():
        sweep.complete()
    assert sweep.ask() == ()
    assert sweep.coordinator.exchange("a", [], 1).over
    check_exhausted(sweep, space)


@pytest.mark.parametrize(("sampler", "space"), FINITE)
def test_a_budget_below_the_space_is_met_exactly_and_needs_no_note(sampler: str, space: Space) -> None:
    for trials in (space.size() - 1, space.size()):
        sweep = Sweep(plan(sampler=sampler, space=space, trials=trials))
        while not sweep.coordinator.is_over():
            sweep.complete()
        assert len(set(points(sweep))) == len(sweep.states) == trials
        assert sweep.coordinator.snapshot().note is None


@pytest.mark.parametrize(("sampler", "space"), FINITE)
@pytest.mark.parametrize("seed", range(6))
def test_no_point_twice_with_several_slots_and_trials_put_back(sampler: str, space: Space, seed: int) -> None:
    rng = random.Random(seed)
    sweep = Sweep(plan(sampler=sampler, space=space, trials=40, slots=None, retries=99, seed=seed), slots="")
    held: dict[str, list[Any]] = {}
    for turn in range(400):
        if len(held) < 4:
            slot = f"slot{turn}"
            sweep.coordinator.open_slot(slot)
            held[slot] = []
        slot = rng.choice(list(held))
        match rng.randrange(6 if turn < 60 else 2):
            case 0 | 2 | 3:
                held[slot] += sweep.ask(slot, free=rng.randrange(1, 4))
            case 1 if held[slot]:
                sweep.finish(held[slot].pop(rng.randrange(len(held[slot]))), slot, score=rng.random())
            case 4 if held[slot]:
                sweep.crash(held[slot].pop(rng.randrange(len(held[slot]))), slot=slot)
            case 5:
                sweep.coordinator.lost(slot, Lost("node", "gone"))
                del held[slot]
    check_exhausted(sweep, space)


@pytest.mark.parametrize(("sampler", "space"), FINITE)
def test_the_last_trials_in_flight_go_on_when_the_sampler_is_exhausted(sampler: str, space: Space) -> None:
    sweep = Sweep(plan(sampler=sampler, space=space, trials=40, slots=40))
    given = sweep.ask("a", free=40)
    assert len(given) == space.size()
    for one in given[:-1]:
        sweep.finish(one, score=0.5)
    assert sweep.report(given[-1], 1, 0.5) is Verdict.GO_ON
    assert not sweep.coordinator.exchange("b", [], 1).over
    sweep.coordinator.lost("a", Lost("node", "gone"))
    again = sweep.one("b")
    assert (again.number, again.params) == (given[-1].number, given[-1].params)
    sweep.finish(again, "b", score=0.5)
    check_exhausted(sweep, space)


@pytest.mark.parametrize(("sampler", "space"), FINITE)
def test_points_are_remembered_over_runs(sampler: str, space: Space) -> None:
    sweep = Sweep(plan(sampler=sampler, space=space, trials=40, slots=2))
    sweep.complete()
    sweep.complete()
    sweep.ask("a", free=1)  # put back when the next run begins
    while not sweep.coordinator.is_over():
        sweep = sweep.again()
        sweep.complete()
    check_exhausted(sweep, space)
    later = sweep.again()
    assert later.coordinator.is_over()
    assert later.ask() == ()
    assert not later.coordinator.wants_slot(0)
    check_exhausted(later, space)


@pytest.mark.parametrize(("sampler", "space"), FINITE)
def test_failed_points_are_not_tried_again(sampler: str, space: Space) -> None:
    sweep = Sweep(plan(sampler=sampler, space=space, trials=40, max_in_a_row=99))
    while not sweep.coordinator.is_over():
        sweep.crash(sweep.one())
    check_exhausted(sweep, space)
    assert sweep.coordinator.snapshot().counts[State.FAIL] == space.size()


@pytest.mark.parametrize(("sampler", "space"), FINITE[:2])
def test_points_enqueued_by_others_leave_none_untried(sampler: str, space: Space) -> None:
    sweep = Sweep(plan(sampler=sampler, space=space, trials=40, slots=2))
    sweep.study.enqueue_trial({"lr": 0.2, "kind": "b"})
    while not sweep.coordinator.is_over():
        sweep.complete()
    assert len(set(points(sweep))) == space.size()
    assert len(points(sweep)) <= space.size() + 1, "optuna's grid may come to an enqueued point once more"
    assert sweep.coordinator.snapshot().failure is None
    assert set(sweep.states) == {"COMPLETE"}


def test_a_grid_does_not_trip_over_a_half_enqueued_trial() -> None:
    sweep = Sweep(plan(sampler="grid", space=FLAT, trials=40))
    sweep.study.enqueue_trial({"lr": 0.2})
    while not sweep.coordinator.is_over():
        sweep.complete()
    assert sweep.states[0] == "FAIL"
    assert "enqueued" in sweep.reason(0)
    assert len(set(points(sweep)[1:])) == FLAT.size()


def test_a_grid_does_not_trip_over_one_enqueued_before_its_last_point() -> None:
    sweep = Sweep(plan(sampler="grid", space=FLAT, trials=40))
    for _ in range(5):
        sweep.complete()
    sweep.study.enqueue_trial(sweep.trial(0).params)
    while not sweep.coordinator.is_over():
        sweep.complete()
    assert sweep.states == ["COMPLETE"] * 7
    assert len(set(points(sweep))) == FLAT.size()


def test_points_that_two_branches_share_are_not_waited_for() -> None:
    shared = {"on": {"strength": Int(0, 1)}, "off": {}}
    space = Space({"first": Choice(shared), "second": Choice(shared)})
    sweep = Sweep(plan(sampler="brute_force", space=space, trials=40))
    while not sweep.coordinator.is_over():
        sweep.complete()
    assert len(points(sweep)) == len(set(points(sweep))) == 7
    assert sweep.coordinator.snapshot().note == f"sampler brute_force: {NOTE}"
