"""What becomes of one trial that goes its way: reports, values, attributes, reasons."""

from __future__ import annotations

import math

import pytest

from hpo.search.messages import Finished, Lost, Report, Saving
from hpo.search.plan import Objective
from hpo.search.pruners import pruners
from hpo.search.seeds import trial_seed
from hpo.training import Verdict
from tests.search.driving import Sweep, memory_study, plan

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
        sweep = Sweep(plan(trials=48, pruner={"name": "successive_halving", "min_resource": 1, "reduction_factor": 2}))
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


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_what_was_measured_by_class_is_kept_of_each_trial_that_was_the_best_so_far(direction: str, sign: int) -> None:
    wanted = plan(objectives=(Objective("score", direction),))  # type: ignore[arg-type]
    sweep = Sweep(wanted, memory_study(wanted))
    leads = []
    for number, score in enumerate([0.5, 0.25, 0.75, 0.75]):
        given = sweep.complete(sign * score, by_class={"of": number})
        assert given.lead is not None
        leads.append((given.lead.metric, given.lead.value))
    assert leads == [("score", None), *(("score", sign * best) for best in (0.5, 0.5, 0.75))]
    kept = [trial.user_attrs.get("by_class") for trial in sweep.study.trials]
    assert kept == [{"of": 0}, None, {"of": 2}, None]
    again = sweep.again().one()
    assert again.lead is not None
    assert again.lead.value == sign * 0.75, "a new run knows it from the study"


def test_at_best_it_is_kept_of_the_last_weights_and_without_a_single_winner_of_none() -> None:
    sweep = Sweep(BEST, memory_study(BEST))
    given = sweep.one()
    for step, score in enumerate([0.9, 0.5], 1):
        sweep.report(given, step, score)
    sweep.finish(given, by_class={"of": 0})
    assert {"best_step": 1, "by_class": {"of": 0}}.items() <= sweep.trial(0).user_attrs.items()
    assert Sweep(TWO, memory_study(TWO)).one().lead is None


@pytest.mark.parametrize("said", [Report(0, 1, 1, {"score": 0.5}, packed=True), Saving(0, 1, packed=True)])
def test_a_trial_that_was_once_in_a_pack_is_marked_for_ever(said: Report | Saving) -> None:
    sweep = Sweep()
    sweep.one()
    sweep.coordinator.exchange("a", [said], 0)
    sweep.coordinator.lost("a", Lost("process", "killed from outside"))
    again = sweep.one("b")
    assert (again.number, again.attempt) == (0, 2)
    sweep.report(again, 2, 0.75, "b")
    sweep.finish(again, "b")
    sweep.complete(slot="b")
    assert [trial.user_attrs.get("packed") for trial in sweep.study.trials] == [True, None]
