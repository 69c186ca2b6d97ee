"""What counts towards the budget, what ends a sweep, and how many trials are in flight."""

from __future__ import annotations

import optuna
import pytest

from hpo.search.coordinator import DRAIN_GRACE
from hpo.search.plan import Objective
from hpo.search.states import State
from hpo.training import Verdict
from tests.search.driving import Clock, Sweep, memory_study, plan, run_to_end


def test_complete_pruned_and_failed_trials_count() -> None:
    sweep = Sweep(plan(trials=3, pruner={"name": "threshold", "lower": 0.2}))
    sweep.complete(0.5)
    assert sweep.report(sweep.one(), 1, 0.1) is Verdict.PRUNED
    assert not sweep.coordinator.is_over()
    sweep.crash(sweep.one())
    assert sweep.states == ["COMPLETE", "PRUNED", "FAIL"]
    answer = sweep.coordinator.exchange("a", [], 1)
    assert answer.over
    assert answer.assignments == ()
    assert sweep.coordinator.snapshot().over


def test_trials_put_back_do_not_count() -> None:
    sweep = Sweep(plan(trials=2, retries=5))
    for _ in range(3):
        sweep.crash(sweep.one())
    assert sweep.coordinator.snapshot().counts[State.FAIL] == 0
    run_to_end(sweep)
    assert sweep.states == ["COMPLETE", "COMPLETE"]


def test_the_budget_is_of_the_study_over_all_its_runs() -> None:
    sweep = Sweep(plan(trials=3))
    sweep.complete()
    sweep.coordinator.close("stopped")
    more = sweep.again(plan(trials=5))
    run_to_end(more)
    assert len(more.states) == 5
    less = sweep.again(plan(trials=2))
    assert less.coordinator.is_over()
    assert less.ask() == ()


def test_a_slot_that_waits_for_others_is_not_told_that_it_is_over() -> None:
    sweep = Sweep(plan(trials=1, slots=2))
    given = sweep.one("a")
    idle = sweep.coordinator.exchange("b", [], 1)
    assert (idle.assignments, idle.over) == ((), False)
    assert idle.wait > 0
    sweep.crash(given)
    assert sweep.coordinator.exchange("b", [], 1).over


def test_time_runs_from_the_first_ask_and_is_summed_over_runs() -> None:
    clock = Clock()
    sweep = Sweep(plan(trials=None, seconds=60.0), clock=clock)
    clock.now += 500
    assert sweep.coordinator.snapshot().seconds == 0
    sweep.complete()
    clock.now += 40
    last = sweep.coordinator.close("stopped by SIGINT")
    assert last.seconds == 40
    more = sweep.again(seconds=last.seconds)
    given = more.one()
    clock.now += 19
    assert more.coordinator.tick()[0].time_left == pytest.approx(1)
    assert more.report(given, 1, 0.5) is Verdict.GO_ON
    clock.now += 1
    snapshot, late = more.coordinator.tick()
    assert (snapshot.note, snapshot.over, late) == ("time used up", False, ())
    assert more.report(given, 2, 0.5) is Verdict.PUT_BACK
    more.release(given)
    assert more.states == ["COMPLETE", "WAITING"]
    assert more.coordinator.snapshot().over
    assert more.reason(1) == "put back: time used up"


def test_time_that_earlier_runs_have_used_up_starts_nothing() -> None:
    sweep = Sweep(plan(trials=None, seconds=60.0), seconds=61.0)
    assert sweep.ask() == ()
    assert sweep.coordinator.is_over()
    assert not sweep.coordinator.wants_slot(0)


def test_a_drain_starts_nothing_and_puts_back_at_the_next_report() -> None:
    sweep = Sweep(plan(slots=2, pruner={"name": "threshold", "lower": 0.2}))
    one, other = sweep.one("a"), sweep.one("b")
    sweep.coordinator.drain("stopped by SIGTERM")
    assert sweep.ask("a") == ()
    assert sweep.report(one, 1, 0.5) is Verdict.PUT_BACK
    assert sweep.report(other, 1, 0.1, "b") is Verdict.PRUNED, "a decision goes before the stop"
    sweep.release(one)
    assert sweep.states == ["WAITING", "PRUNED"]
    assert sweep.coordinator.exchange("a", [], 1).over


def test_a_trial_that_finishes_while_draining_is_complete() -> None:
    sweep = Sweep()
    given = sweep.one()
    sweep.report(given, 1, 0.5)
    sweep.coordinator.drain("stopped by SIGTERM")
    assert sweep.finish(given).over
    assert sweep.states == ["COMPLETE"]


def test_trials_that_do_not_come_to_a_report_do_not_hold_up_the_end() -> None:
    sweep = Sweep(plan(slots=2))
    sweep.one("a")
    sweep.coordinator.drain("time used up")
    sweep.clock.now += DRAIN_GRACE
    assert sweep.coordinator.tick()[1] == ()
    sweep.clock.now += 1
    snapshot, late = sweep.coordinator.tick()
    assert (snapshot.over, late) == (True, ("a",))
    assert sweep.states == ["WAITING"]
    assert "deaths" not in sweep.trial(0).user_attrs


def test_nothing_is_running_after_close_and_everyone_is_refused() -> None:
    sweep = Sweep(plan(slots=2))
    one, other = sweep.one("a"), sweep.one("b")
    sweep.study.ask()  # half asked when a sampler raised, say
    snapshot = sweep.coordinator.close("stopped")
    assert sweep.states == ["WAITING", "WAITING", "WAITING"]
    assert snapshot.running == 0
    assert sweep.report(one, 1, 0.5) is Verdict.REFUSED
    assert sweep.finish(other, "b", score=1.0).over
    sweep.coordinator.open_slot("late")
    assert sweep.coordinator.exchange("late", [], 1).over
    assert sweep.states == ["WAITING", "WAITING", "WAITING"]
    assert sweep.coordinator.close("again").running == 0


def test_running_trials_of_a_dead_run_go_on_first_under_their_own_numbers() -> None:
    sweep = Sweep(plan(slots=2))
    first, second = sweep.one("a"), sweep.one("b")
    sweep.report(first, 1, 0.25)
    more = sweep.again()
    assert more.coordinator.adopted == [0, 1]
    again = more.one("a"), more.one("b"), more.ask("a")
    assert [given.number for given in again[:2]] == [0, 1]
    assert again[0].params == first.params
    assert again[0].seed == first.seed
    assert (first.attempt, again[0].attempt) == (1, 2)
    assert more.trial(0).intermediate_values == {1: 0.25}
    assert "deaths" not in more.trial(0).user_attrs
    assert second.params == again[1].params


@pytest.mark.parametrize(
    ("trials", "slots", "expected"),
    [(8, 1, 2), (60, 2, 15), (60, 20, 20), (1, 1, 1), (3, 1, 1), (None, 2, 64), (None, 100, 100)],
)
def test_in_flight_is_a_quarter_of_the_trials_and_never_fewer_than_the_slots(
    trials: int | None, slots: int, expected: int
) -> None:
    sweep = Sweep(plan(trials=trials, seconds=60.0, slots=slots), slots="a")
    assert len(sweep.ask("a", free=1000)) == expected
    assert sweep.ask("a", free=1000) == ()


def test_as_many_slots_as_fit_are_never_fewer_in_flight() -> None:
    sweep = Sweep(plan(trials=8, slots=None), slots="abcd")
    assert [len(sweep.ask(slot)) for slot in "abcd"] == [1, 1, 1, 1]
    assert sweep.coordinator.wants_slot(4)
    sweep.coordinator.open_slot("e")
    assert len(sweep.ask("e")) == 1


def test_slots_are_wanted_for_what_idle_ones_will_not_take() -> None:
    sweep = Sweep(plan(trials=3, slots=4), slots="")
    assert [sweep.coordinator.wants_slot(live) for live in range(5)] == [True, True, True, False, False]
    sweep.coordinator.open_slot("a")
    given = sweep.one("a")
    assert [sweep.coordinator.wants_slot(live) for live in range(1, 4)] == [True, True, False]
    sweep.crash(given)
    assert [sweep.coordinator.wants_slot(live) for live in range(1, 4)] == [True, False, False]


def test_no_more_slots_than_the_plan_has() -> None:
    sweep = Sweep(plan(trials=60, slots=2))
    assert [sweep.coordinator.wants_slot(live) for live in range(4)] == [True, True, False, False]


def test_so_many_fails_in_a_row_end_the_sweep_with_the_last_reason() -> None:
    sweep = Sweep(plan(trials=20, max_in_a_row=3))
    for reason in ("one", "two"):
        sweep.crash(sweep.one(), reason)
    sweep.complete()
    for reason in ("three", "four"):
        sweep.crash(sweep.one(), reason)
    assert sweep.coordinator.snapshot().failure is None
    sweep.crash(sweep.one(), "five")
    snapshot = sweep.coordinator.snapshot()
    assert snapshot.failure == "3 trials in a row failed; the last: five"
    assert snapshot.over
    assert sweep.ask() == ()


def test_fails_in_a_row_are_those_of_one_run() -> None:
    sweep = Sweep(plan(trials=20, max_in_a_row=2))
    sweep.crash(sweep.one())
    more = sweep.again()
    more.crash(more.one())
    assert more.coordinator.snapshot().failure is None


def test_a_failed_sweep_puts_its_other_trials_back() -> None:
    sweep = Sweep(plan(trials=20, slots=2, max_in_a_row=1))
    bad, good = sweep.one("a"), sweep.one("b")
    sweep.crash(bad, "ValueError: no")
    assert sweep.report(good, 1, 0.5, "b") is Verdict.PUT_BACK
    sweep.release(good, "b")
    assert sweep.reason(1) == "put back: 1 trials in a row failed; the last: ValueError: no"
    assert sweep.states == ["FAIL", "WAITING"]


def test_the_snapshot_tells_each_end_once_and_the_best() -> None:
    sweep = Sweep(plan(trials=60))
    sweep.complete(0.5)
    sweep.complete(0.75)
    sweep.crash(sweep.one(), "ValueError: no")
    sweep.clock.now += 60
    first, second = sweep.coordinator.snapshot(), sweep.coordinator.snapshot()
    assert [(end.number, end.value, end.reason) for end in first.ended] == [
        (0, 0.5, None),
        (1, 0.75, None),
        (2, None, "ValueError: no"),
    ]
    assert second.ended == ()
    assert second.best is not None
    assert (second.best.number, second.best.value) == (1, 0.75)
    assert (second.total, second.rate) == (60, 3)
    assert sweep.again().coordinator.snapshot().best == second.best


def test_minimize_takes_the_least_for_the_best() -> None:
    wanted = plan(objectives=(Objective("score", "minimize"),))
    sweep = Sweep(wanted, memory_study(wanted))
    for value in (0.5, 0.25, 0.75):
        sweep.complete(value)
    best = sweep.coordinator.snapshot().best
    assert best is not None
    assert best.number == 1
    assert sweep.study.directions == [optuna.study.StudyDirection.MINIMIZE]
