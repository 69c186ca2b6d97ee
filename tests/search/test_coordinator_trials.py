"""What becomes of one trial: reports, values, attributes, reasons, retries, deaths, timeouts, fences."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hpo.search.messages import Finished, Lost, Report
from hpo.search.plan import Objective
from hpo.search.pruners import pruners
from hpo.search.seeds import trial_seed
from hpo.space import Choice, Float, Int, Space
from hpo.training import Verdict
from tests.search.driving import Clock, Sweep, memory_study, plan

DEATH = Lost("process", "killed by SIGKILL")
BEST = plan(objectives=(Objective("score", "maximize", "best"),))
TWO = plan(objectives=(Objective("score", "maximize"), Objective("loss", "minimize")))


# ------------------------------------------------------------- reports and values


def test_intermediate_values_are_the_objectives_own_by_step() -> None:
    sweep = Sweep()
    given = sweep.one()
    for step, value in ((1, 0.5), (2, 0.25), (7, 0.75)):
        assert sweep.report(given, step, value, loss=1.0) is Verdict.GO_ON
    sweep.finish(given)
    assert sweep.trial(0).intermediate_values == {1: 0.5, 2: 0.25, 7: 0.75}
    assert sweep.trial(0).values == [0.75]


def test_at_last_is_the_last_reports_value_and_what_was_returned_is_the_last_report() -> None:
    sweep = Sweep()
    given = sweep.one()
    sweep.report(given, 1, 0.5)
    sweep.finish(given, score=0.25)
    assert sweep.trial(0).values == [0.25]
    assert sweep.trial(0).intermediate_values == {1: 0.5}
    given = sweep.one()
    sweep.finish(given, score=0.125)
    assert sweep.trial(1).values == [0.125]


@pytest.mark.parametrize(
    ("curve", "returned", "value", "step"),
    [
        ([0.1, 0.9, 0.5], {}, 0.9, 2),
        ([0.9, 0.5, 0.9], {}, 0.9, 1),
        ([0.1, 0.2], {}, 0.2, 2),
        ([0.1, 0.2], {"score": 0.3}, 0.3, None),
        ([0.1, 0.2], {"score": 0.15}, 0.2, 2),
        ([], {"score": 0.3}, 0.3, None),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_at_best_keeps_its_step(
    curve: list[float], returned: dict[str, float], value: float, step: int | None, sign: int
) -> None:
    wanted = plan(objectives=(Objective("score", "maximize" if sign > 0 else "minimize", "best"),))
    sweep = Sweep(wanted, memory_study(wanted))
    given = sweep.one()
    for number, said in enumerate(curve, 1):
        sweep.report(given, number, sign * said)
    sweep.finish(given, **{name: sign * said for name, said in returned.items()})
    assert sweep.trial(0).values == [sign * value]
    assert sweep.trial(0).user_attrs.get("best_step") == step


def test_at_best_sets_only_the_value_of_complete_trials() -> None:
    sweep = Sweep(plan(objectives=BEST.objectives, pruner={"name": "threshold", "lower": 0.2}))
    given = sweep.one()
    sweep.report(given, 1, 0.9)
    assert sweep.report(given, 2, 0.1) is Verdict.PRUNED
    assert sweep.trial(0).values == [0.1]
    assert "best_step" not in sweep.trial(0).user_attrs


def test_other_metrics_are_kept_with_their_last_value() -> None:
    sweep = Sweep()
    given = sweep.one()
    sweep.report(given, 1, 0.5, loss=2.0, f1=0.1)
    sweep.report(given, 2, 0.6, loss=1.0)
    sweep.report(given, 3, 0.6, diverging=math.inf)
    sweep.finish(given, test=0.5)
    assert sweep.trial(0).user_attrs["metrics"] == {"loss": 1.0, "f1": 0.1, "test": 0.5}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_fails_the_trial_with_metric_and_step(value: float) -> None:
    sweep = Sweep(plan(retries=3))
    given = sweep.one()
    sweep.report(given, 1, 0.5)
    assert sweep.report(given, 2, value) is Verdict.REFUSED
    assert sweep.states == ["FAIL"]
    assert sweep.reason(0) == f"score is {value} at step 2"
    assert sweep.trial(0).intermediate_values == {1: 0.5}
    given = sweep.one()
    sweep.finish(given, score=value)
    assert sweep.reason(1) == f"score is {value}"


def test_an_objective_that_is_not_reported_fails_the_trial_and_says_what_was() -> None:
    sweep = Sweep()
    given = sweep.one()
    sweep.coordinator.exchange("a", [Report(given.number, given.attempt, 1, {"val_loss": 1.0, "acc": 0.5})], 0)
    assert sweep.reason(0) == "the objective 'score' was not reported at step 1 (reported: acc, val_loss)"
    sweep.finish(sweep.one())
    assert sweep.reason(1) == "the objective 'score' was not reported (reported: nothing)"


@pytest.mark.parametrize(("step", "reason"), [(2, "reported after step 2"), (1, "reported after step 2")])
def test_steps_have_to_grow(step: int, reason: str) -> None:
    sweep = Sweep()
    given = sweep.one()
    sweep.report(given, 2, 0.5)
    assert sweep.report(given, step, 0.6) is Verdict.REFUSED
    assert reason in sweep.reason(0)


def test_a_step_that_cannot_be_stored_fails_the_trial() -> None:
    sweep = Sweep()
    sweep.report(sweep.one(), -1, 0.5)
    assert sweep.states == ["FAIL"]
    assert "step -1 cannot be stored" in sweep.reason(0)


def test_steps_repeated_after_a_restart_change_nothing_and_are_not_decided_anew() -> None:
    sweep = Sweep(plan(pruner={"name": "threshold", "lower": 0.2}))
    given = sweep.one()
    for step in (1, 2):
        sweep.report(given, step, 0.5)
    more = sweep.again()
    again = more.one()
    assert more.report(again, 1, 0.125) is Verdict.GO_ON
    assert more.report(again, 2, 0.125) is Verdict.GO_ON
    assert more.trial(0).intermediate_values == {1: 0.5, 2: 0.5}
    assert more.report(again, 3, 0.125) is Verdict.PRUNED


def test_a_report_that_fills_a_gap_is_kept_and_not_decided_by_a_later_one() -> None:
    sweep = Sweep(plan(pruner={"name": "median", "n_startup_trials": 1}))
    sweep.report(sweep.one("a"), 3, 0.5)
    other = sweep.one("b")
    sweep.report(other, 3, 0.9, "b")
    sweep.finish(other, "b")
    more = sweep.again()
    again = more.one()
    assert more.report(again, 1, 0.1) is Verdict.GO_ON
    assert more.trial(0).intermediate_values == {1: 0.1, 3: 0.5}
    assert more.report(again, 4, 0.1) is Verdict.GO_ON
    assert more.trial(0).state.name == "RUNNING"


def test_a_trial_that_goes_on_from_its_last_step_needs_to_report_nothing_more() -> None:
    sweep = Sweep()
    given = sweep.one()
    sweep.report(given, 1, 0.25, loss=1.0)
    sweep.coordinator.drain("stopped")
    sweep.report(given, 2, 0.5, loss=0.5)
    sweep.release(given)
    sweep.coordinator.close("stopped")
    more = sweep.again()
    more.finish(more.one())
    assert more.states == ["COMPLETE"]
    assert more.trial(0).values == [0.5]
    assert more.trial(0).user_attrs["metrics"] == {"loss": 0.5}
    assert more.reason(0) == ""


def test_members_of_one_exchange_are_decided_in_order_of_number() -> None:
    def stopped(order: list[int]) -> dict[int, Verdict]:
        sweep = Sweep(plan(trials=40, pruner={"name": "successive_halving", "min_resource": 1, "reduction_factor": 2}))
        given = sweep.ask("a", free=6)
        value = [0.5, 0.1, 0.4, 0.9, 0.6, 0.2]
        said = [Report(n, given[n].attempt, 1, {"score": value[n]}) for n in order]
        return dict(zip(order, sweep.coordinator.exchange("a", said, 0).verdicts, strict=True))

    expected = stopped([0, 1, 2, 3, 4, 5])
    assert set(expected.values()) == {Verdict.GO_ON, Verdict.PRUNED}
    assert stopped([5, 3, 1, 0, 2, 4]) == expected


def test_what_was_said_of_one_trial_is_heard_in_its_order() -> None:
    sweep = Sweep()
    given = sweep.one()
    said = [Report(0, 1, 1, {"score": 0.5}), Report(0, 1, 2, {"score": 0.75}), Finished(0, 1)]
    answer = sweep.coordinator.exchange("a", said, 1)
    assert answer.verdicts == (Verdict.GO_ON, Verdict.GO_ON)
    assert sweep.trial(given.number).values == [0.75]
    assert [one.number for one in answer.assignments] == [1]


def test_a_pruned_trial_keeps_curve_and_last_value_and_says_by_whom_and_when() -> None:
    sweep = Sweep(plan(pruner={"name": "threshold", "lower": 0.2}))
    given = sweep.one()
    for step, value in ((1, 0.5), (2, 0.4), (3, 0.125)):
        verdict = sweep.report(given, step, value)
    assert verdict is Verdict.PRUNED
    trial = sweep.trial(0)
    assert (trial.state.name, trial.values, trial.intermediate_values) == (
        "PRUNED",
        [0.125],
        {1: 0.5, 2: 0.4, 3: 0.125},
    )
    assert sweep.reason(0) == pruners.parse({"name": "threshold", "lower": 0.2}).reason(sweep.study, trial)
    sweep.release(given)
    assert sweep.states == ["PRUNED"], "a slot that leaves after the verdict says so, and is not heard"


# ------------------------------------------------------------ several objectives


def test_with_several_objectives_the_first_ones_curve_is_kept() -> None:
    sweep = Sweep(TWO, memory_study(TWO))
    given = sweep.one()
    for step, value in ((1, 0.5), (2, 0.75)):
        assert sweep.report(given, step, value, loss=1.0 / step, f1=0.5) is Verdict.GO_ON
    sweep.finish(given)
    trial = sweep.trial(0)
    assert (trial.values, trial.intermediate_values) == ([0.75, 0.5], {1: 0.5, 2: 0.75})
    assert trial.user_attrs["metrics"] == {"f1": 0.5}


def test_every_objective_must_be_reported() -> None:
    sweep = Sweep(TWO, memory_study(TWO))
    sweep.report(sweep.one(), 1, 0.5)
    assert sweep.reason(0) == "the objective 'loss' was not reported at step 1 (reported: score)"


def test_the_other_objectives_last_values_survive_a_restart() -> None:
    sweep = Sweep(TWO, memory_study(TWO))
    given = sweep.one()
    sweep.report(given, 1, 0.5, loss=0.25)
    sweep.coordinator.close("stopped")
    more = sweep.again()
    more.finish(more.one())
    assert more.trial(0).values == [0.5, 0.25]
    assert more.trial(0).user_attrs["metrics"] == {}


# --------------------------------------------------------------------- attributes


def test_seed_hangs_on_the_number_only_and_is_the_same_at_every_attempt() -> None:
    sweep = Sweep(plan(seed=3, retries=1))
    first = sweep.one()
    sweep.crash(first)
    again = sweep.one()
    assert first.seed == again.seed == sweep.trial(0).user_attrs["seed"] == trial_seed(3, 0)
    assert (again.attempt, sweep.trial(0).user_attrs["attempt"]) == (2, 2)
    assert sweep.trial(0).user_attrs["log"] == "logs/0.log"


def test_the_reason_of_a_put_back_does_not_outlive_the_trial() -> None:
    sweep = Sweep(plan(retries=1))
    sweep.crash(sweep.one(), "OSError: disk")
    assert sweep.reason(0) == "put back: OSError: disk"
    sweep.complete()
    assert (sweep.states, sweep.reason(0)) == (["COMPLETE"], "")


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
    mate = sweep.one("a")
    other = sweep.one("b")
    sweep.clock.now += 5.5
    snapshot, killed = sweep.coordinator.tick()
    assert killed == ("a",)
    assert (late.number, mate.number, other.number) == (0, 1, 2)
    assert sweep.states == ["FAIL", "WAITING", "RUNNING"]
    assert sweep.reason(0) == "timed out: still training 10 s after its start (trial.timeout)"
    assert [end.number for end in snapshot.ended] == [0]
    assert sweep.finish(late, score=1.0).over
    assert sweep.coordinator.lost("a", DEATH) == [], "the death of a slot that we killed is nobody's"
    assert sweep.coordinator.tick()[1] == ()


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
    return Sweep(plan(space=BRANCHED, **{"unread_ends": True, **changes}))


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
