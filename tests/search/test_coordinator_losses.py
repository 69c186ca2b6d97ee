"""What becomes of a trial that is not let be: retries, deaths, lost slots, timeouts, and parameters it never read."""

from __future__ import annotations

from typing import Any

from hpo.search.messages import Finished, Lost, Report
from hpo.space import Choice, Float, Int, Space
from hpo.training import Verdict
from tests.search.driving import Clock, Sweep, plan

DEATH = Lost("process", "killed by SIGKILL")


# --------------------------------------------------------- retries, deaths, fences


def test_code_that_raised_is_retried_as_often_as_said() -> None:
    sweep = Sweep(plan(retries=2))
    for attempt in (1, 2, 3):
        given = sweep.one()
        assert (given.number, given.attempt) == (0, attempt)
        sweep.crash(given, f"ValueError: {attempt}")
    assert (sweep.states, sweep.reason(0)) == (["FAIL"], "ValueError: 3")


def test_what_would_happen_again_is_not_retried() -> None:
    sweep = Sweep(plan(retries=2))
    sweep.crash(sweep.one(), "diverged: loss is nan at step 3", retryable=False)
    assert sweep.states == ["FAIL"]


def test_retries_are_counted_over_all_runs() -> None:
    sweep = Sweep(plan(retries=1))
    sweep.crash(sweep.one())
    more = sweep.again()
    more.crash(more.one())
    assert more.states == ["FAIL"]


def test_a_third_death_without_a_new_checkpoint_fails_with_the_cause() -> None:
    sweep = Sweep(plan(slots=None), slots="abc")
    for slot in "abc":
        given = sweep.one(slot)
        assert given.number == 0
        assert sweep.coordinator.lost(slot, DEATH) == [0]
    assert sweep.states == ["FAIL"]
    assert sweep.reason(0) == "its process died 3 times: killed by SIGKILL"


def test_a_new_checkpoint_makes_up_for_deaths() -> None:
    sweep = Sweep(plan(slots=None), slots="abcdef")
    for slot in "ab":
        sweep.one(slot)
        sweep.coordinator.lost(slot, DEATH)
    given = sweep.one("c")
    sweep.report(given, 1, 0.5, "c", saved=False)
    assert sweep.trial(0).user_attrs["deaths"] == 2
    sweep.report(given, 2, 0.5, "c", saved=True)
    assert sweep.trial(0).user_attrs["deaths"] == 0
    for slot in "cd":
        sweep.coordinator.lost(slot, DEATH)
        sweep.one("d" if slot == "c" else "e")
    assert sweep.states == ["RUNNING"]
    sweep.coordinator.lost("e", DEATH)
    assert sweep.states == ["FAIL"]


def test_deaths_of_nodes_drivers_and_coordinators_do_not_count() -> None:
    sweep = Sweep(plan(slots=None))
    for _ in range(3):
        sweep.one("a")
        sweep.coordinator.lost("a", Lost("node", "its node died"))
        sweep = sweep.again()
        sweep.one("a")
        sweep = sweep.again()
    assert sweep.states == ["WAITING"]
    assert "deaths" not in sweep.trial(0).user_attrs


def test_slots_that_we_kill_while_stopping_are_no_deaths_of_their_trials() -> None:
    sweep = Sweep(plan(slots=None))
    for _ in range(3):
        sweep.one("a")
        sweep.coordinator.drain("stopped by SIGINT")
        sweep.coordinator.lost("a", DEATH)
        sweep = sweep.again()
    assert sweep.states == ["WAITING"]


def test_all_members_of_a_lost_slot_are_put_back() -> None:
    sweep = Sweep(plan(trials=40))
    numbers = [one.number for one in sweep.ask("a", free=4)]
    assert sweep.coordinator.lost("a", DEATH) == numbers == [0, 1, 2, 3]
    assert sweep.states == ["WAITING"] * 4
    assert [one.number for one in sweep.ask("b", free=4)] == numbers


def test_a_slot_declared_lost_is_refused_for_ever_and_its_trial_is_anothers() -> None:
    sweep = Sweep(plan(slots=2))
    given = sweep.one("a")
    sweep.coordinator.lost("a", DEATH)
    again = sweep.one("b")
    assert again.number == given.number
    assert sweep.report(given, 1, 0.125) is Verdict.REFUSED
    assert sweep.finish(given, score=0.125).over
    sweep.coordinator.open_slot("a")
    assert sweep.coordinator.exchange("a", [], 1).over
    sweep.report(again, 1, 0.5, "b")
    sweep.finish(again, "b")
    assert sweep.trial(0).intermediate_values == {1: 0.5}


def test_a_slot_that_was_never_admitted_is_refused() -> None:
    sweep = Sweep(slots="")
    assert sweep.coordinator.exchange("x", [], 1).over
    assert sweep.states == []


def test_what_is_said_of_an_older_attempt_is_refused_by_the_attempt() -> None:
    sweep = Sweep(plan(retries=1))
    old = sweep.one()
    sweep.crash(old)
    new = sweep.one()
    assert sweep.report(old, 1, 0.125) is Verdict.REFUSED
    sweep.finish(old, score=0.125)
    sweep.crash(old)
    sweep.release(old)
    assert sweep.states == ["RUNNING"]
    assert sweep.trial(0).intermediate_values == {}
    assert sweep.report(new, 1, 0.5) is Verdict.GO_ON


def test_a_slot_cannot_speak_of_anothers_trial() -> None:
    sweep = Sweep(plan(slots=2))
    given = sweep.one("a")
    assert sweep.report(given, 1, 0.5, "b") is Verdict.REFUSED
    assert sweep.trial(0).intermediate_values == {}


def test_a_trial_that_its_slot_does_not_hold_any_more_is_put_back() -> None:
    sweep = Sweep(plan(trials=4, slots=1))
    for death in (1, 2):
        given = sweep.one()
        answer = sweep.coordinator.exchange("a", [], 0, holds=())
        assert answer.assignments == ()
        assert sweep.states == ["WAITING"]
        assert sweep.trial(0).user_attrs["deaths"] == death
    answer = sweep.coordinator.exchange("a", [], 1, holds=())
    assert [one.number for one in answer.assignments] == [given.number]
    sweep.coordinator.exchange("a", [], 0, holds=())
    assert sweep.reason(0) == "its process died 3 times: its slot lost it without a word"


def test_trials_that_a_slot_holds_or_tells_the_end_of_are_not_lost() -> None:
    sweep = Sweep(plan(trials=40))
    given = sweep.ask("a", free=3)
    said = [Report(1, 1, 1, {"score": 0.5}), Finished(2, 1, {"score": 0.5})]
    sweep.coordinator.exchange("a", said, 0, holds=[given[0].number, 1])
    assert sweep.states == ["RUNNING", "RUNNING", "COMPLETE"]


def test_a_trial_that_leaves_without_being_told_is_fail() -> None:
    sweep = Sweep()
    given = sweep.one()
    sweep.report(given, 1, 0.5)
    sweep.release(given)
    assert (sweep.states, sweep.reason(0)) == (["FAIL"], "it left its training without being told to")


# ------------------------------------------------------------------------ timeouts


def test_a_trial_past_its_timeout_is_fail_and_its_slot_is_to_be_killed() -> None:
    sweep = Sweep(plan(trials=40, timeout=10.0))
    late = sweep.one("a")
    sweep.clock.now += 5
    other = sweep.one("b")
    sweep.clock.now += 5.5
    snapshot, killed = sweep.coordinator.tick()
    assert killed == ("a",)
    assert (late.number, other.number) == (0, 1)
    assert sweep.states == ["FAIL", "RUNNING"]
    assert sweep.reason(0) == "timed out: still training 10 s after its start (trial.timeout)"
    assert [end.number for end in snapshot.ended] == [0]
    assert sweep.finish(late, score=1.0).over
    assert sweep.coordinator.lost("a", DEATH) == [], "the death of a slot that we killed is nobody's"
    assert sweep.coordinator.tick()[1] == ()


def test_a_pack_may_take_its_time_while_it_speaks_and_goes_on_one_by_one_when_it_is_silent() -> None:
    sweep = Sweep(plan(trials=40, timeout=10.0))
    given = sweep.ask("a", free=3)
    for step in range(1, 5):
        sweep.clock.now += 6
        said = [Report(one.number, 1, step, {"score": 0.5}) for one in given]
        sweep.coordinator.exchange("a", said, 0)
        assert sweep.coordinator.tick()[1] == ()
    sweep.clock.now += 10.5
    assert sweep.coordinator.tick()[1] == ("a",)
    assert sweep.states == ["WAITING"] * 3
    assert sweep.reason(0) == "put back: its pack was silent for 10 s (trial.timeout)"
    sweep.coordinator.open_slot("c")
    culprit = sweep.ask("b", free=8), sweep.ask("c", free=8)
    assert [[(one.number, one.alone) for one in given] for given in culprit] == [[(0, True)], [(1, True)]]
    sweep.clock.now += 10.5
    assert sweep.coordinator.tick()[1] == ("b", "c")
    assert sweep.states == ["FAIL", "FAIL", "WAITING"]


def test_timeout_counts_from_the_last_start() -> None:
    sweep = Sweep(plan(timeout=10.0, retries=1))
    given = sweep.one()
    sweep.clock.now += 9
    sweep.crash(given)
    sweep.one()
    sweep.clock.now += 9
    assert sweep.coordinator.tick()[1] == ()
    sweep.clock.now += 2
    assert sweep.coordinator.tick()[1] == ("a",)


def test_there_is_no_timeout_by_default() -> None:
    sweep = Sweep()
    sweep.one()
    sweep.clock.now += 1e9
    assert sweep.coordinator.tick()[1] == ()


def test_time_in_which_the_coordinator_waits_for_sql_counts_for_nobody() -> None:
    clock = Clock()
    slow = False

    def flush() -> None:
        clock.now += 60 if slow else 0

    sweep = Sweep(plan(slots=2, timeout=10.0), clock=clock, flush=flush)
    sweep.one("a")
    clock.now += 9
    slow = True
    given = sweep.one("b")
    sweep.report(given, 1, 0.5, "b")
    slow = False
    assert sweep.coordinator.tick()[1] == ()
    clock.now += 2
    assert sweep.coordinator.tick()[1] == ("a",)


# ------------------------------------------------------------------------- unread

BRANCHED = Space({"lr": Float(0.1, 1.0), "kind": Choice({"deep": {"depth": Int(1, 3)}})})


def unread_sweep(**changes: Any) -> Sweep:
    return Sweep(plan(**{"space": BRANCHED, "unread_ends": True, **changes}))


def test_a_parameter_that_is_never_read_ends_the_sweep_with_its_name() -> None:
    sweep = unread_sweep()
    sweep.complete(unread=("lr", "depth"))
    snapshot = sweep.coordinator.snapshot()
    assert snapshot.failure == "space.lr: the training function never read this parameter from its config"
    assert snapshot.warnings == ("space.depth: trial 0 never read it",)
    assert sweep.states == ["COMPLETE"]
    assert sweep.ask() == ()


def test_one_inside_a_branch_is_warned_about() -> None:
    sweep = unread_sweep()
    sweep.complete(unread=("depth",))
    snapshot = sweep.coordinator.snapshot()
    assert (snapshot.failure, snapshot.warnings) == (None, ("space.depth: trial 0 never read it",))
    assert sweep.coordinator.snapshot().warnings == ()


def test_what_only_a_tie_reads_is_read() -> None:
    tie = {"rate": "10 ** power", "momentum": "1 - rate"}
    space = Space({"power": Float(-4, -1), "kind": Choice({"deep": {"depth": Int(1, 3)}})}, tie=tie)
    sweep = unread_sweep(space=space)
    sweep.complete(unread=("power", "rate"))
    assert (sweep.coordinator.snapshot().failure, sweep.coordinator.snapshot().warnings) == (None, ())
    sweep = unread_sweep(space=space)
    sweep.complete(unread=("momentum",))
    assert sweep.coordinator.snapshot().failure is not None
    assert sweep.coordinator.snapshot().failure.startswith("space.tie.momentum: the training function never read")


def test_a_tie_over_a_branch_is_warned_about() -> None:
    sweep = unread_sweep(space=Space(BRANCHED, tie={"width": "2 * depth"}))
    sweep.complete(unread=("depth", "width"))
    warnings = ("space.depth: trial 0 never read it", "space.tie.width: trial 0 never read it")
    snapshot = sweep.coordinator.snapshot()
    assert (snapshot.failure, snapshot.warnings) == (None, warnings)


def test_where_it_may_be_unread_it_is_warned_about() -> None:
    sweep = unread_sweep(unread_ends=False)
    sweep.complete(unread=("lr",))
    assert sweep.coordinator.snapshot().failure is None


def test_only_the_first_complete_trial_of_a_run_is_looked_at() -> None:
    sweep = unread_sweep()
    sweep.finish(sweep.one(), unread=("lr",))  # FAIL: it reported nothing
    sweep.complete()
    sweep.complete(unread=("lr",))
    assert sweep.states == ["FAIL", "COMPLETE", "COMPLETE"]
    assert sweep.coordinator.snapshot().failure is None
    more = sweep.again()
    more.complete(unread=("lr",))
    assert more.coordinator.snapshot().failure is not None, "launching again is no way around it"


def test_a_trial_that_went_on_from_a_checkpoint_shows_nothing_about_what_is_read() -> None:
    sweep = unread_sweep()
    first = sweep.one()
    sweep.coordinator.lost("a", DEATH)
    sweep.coordinator.open_slot("b")
    again = sweep.one("b")
    assert (again.number, again.attempt) == (first.number, 2)
    sweep.report(again, 1, 0.5, slot="b")
    sweep.finish(again, slot="b", unread=("lr",))
    assert sweep.coordinator.snapshot().failure is None
