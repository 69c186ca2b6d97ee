"""Others who write to the study meanwhile: dashboards, a bare Optuna that enqueues, tells or adds trials."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from hpo.search.messages import Lost
from hpo.search.states import State
from hpo.training import Verdict
from tests.search.driving import PLAN, SPACE, Sweep, in_sql, open_sqlite, plan, run_to_end

COMPLETE = create_trial(value=0.25)


def end_elsewhere(sweep: Sweep, number: int, state: TrialState = TrialState.FAIL) -> None:
    sweep.study._storage.set_trial_state_values(sweep.trial(number)._trial_id, state)


@pytest.mark.parametrize("saved", [False, True])
def test_a_trial_ended_by_others_stays_as_they_ended_it_and_counts_once(saved: bool) -> None:
    sweep = Sweep(plan(trials=2))
    given = sweep.one()
    sweep.report(given, 1, 0.5)
    end_elsewhere(sweep, 0)
    assert sweep.report(given, 2, 0.5, saved=saved) is Verdict.REFUSED
    assert sweep.trial(0).intermediate_values == {1: 0.5}
    snapshot = sweep.coordinator.snapshot()
    assert (snapshot.counts[State.FAIL], snapshot.running) == (1, 0)
    run_to_end(sweep)
    assert sweep.states == ["FAIL", "COMPLETE"]


def test_none_of_our_words_on_a_trial_that_others_ended_does_harm() -> None:
    sweep = Sweep(plan(trials=40, pack=8, timeout=10.0, pruner={"name": "threshold", "lower": 0.2}, retries=1))
    given = sweep.ask("a", free=8)
    for one in given:
        end_elsewhere(sweep, one.number)
    sweep.finish(given[0], score=0.5)
    sweep.finish(given[1])
    sweep.crash(given[2])
    sweep.crash(given[3], retryable=False)
    sweep.report(given[4], 1, 0.125)
    sweep.coordinator.exchange("a", [], 0, holds=[one.number for one in given[6:]])
    sweep.clock.now += 20
    assert sweep.coordinator.tick()[1] == ("a",)
    assert sweep.states == ["FAIL"] * 8
    assert sweep.coordinator.snapshot().counts[State.FAIL] == 8


def test_a_slot_lost_after_others_ended_its_trial() -> None:
    sweep = Sweep()
    sweep.one()
    end_elsewhere(sweep, 0)
    sweep.coordinator.lost("a", Lost("process", "killed"))
    assert sweep.states == ["FAIL"]
    assert sweep.coordinator.snapshot().running == 0


def test_a_winner_named_by_others_is_the_best() -> None:
    sweep = Sweep()
    sweep.complete(0.5)
    given = sweep.one()
    sweep.study._storage.set_trial_state_values(sweep.trial(1)._trial_id, TrialState.COMPLETE, [0.75])
    sweep.finish(given, score=0.1)
    best = sweep.coordinator.snapshot().best
    assert best is not None
    assert (best.number, best.value) == (1, 0.75)


def test_trials_added_by_others_count_within_five_seconds() -> None:
    sweep = Sweep(plan(trials=5, slots=2))
    sweep.complete()
    held = sweep.one()
    for _ in range(3):
        sweep.study.add_trial(COMPLETE)
    sweep.clock.now += 5
    sweep.coordinator.tick()
    assert sweep.ask("b") == (), "four ended and one in flight are five"
    sweep.study.add_trial(COMPLETE)
    sweep.clock.now += 5
    assert not sweep.coordinator.tick()[0].over
    assert sweep.report(held, 1, 0.5) is Verdict.PUT_BACK
    sweep.release(held)
    assert sweep.coordinator.snapshot().over
    assert sweep.reason(1) == "put back: the sweep has all its trials"


def test_enqueued_trials_come_first_and_count() -> None:
    sweep = Sweep(plan(trials=3))
    sweep.study.enqueue_trial({"lr": 0.5, "kind": "deep", "depth": 2})
    sweep.study.enqueue_trial({"lr": 0.25})
    first = sweep.complete()
    second = sweep.complete()
    assert first.params == {"lr": 0.5, "kind": "deep", "depth": 2}
    assert second.params["lr"] == 0.25
    SPACE.validate(second.params)
    run_to_end(sweep)
    assert sweep.states == ["COMPLETE"] * 3
    assert sweep.trial(0).user_attrs["seed"] == first.seed


def test_an_enqueued_trial_that_does_not_fit_is_fail_and_the_next_is_given() -> None:
    sweep = Sweep(plan(trials=3))
    sweep.study.enqueue_trial({"kind": "cubic"})
    given = sweep.one()
    assert given.number == 1
    assert sweep.states == ["FAIL", "RUNNING"]
    assert "enqueued" in sweep.reason(0)
    assert "cubic" in sweep.reason(0)


def test_attributes_of_others_under_our_names_do_not_confuse() -> None:
    sweep = Sweep(plan(retries=1))
    sweep.study.enqueue_trial({"lr": 0.5}, user_attrs={"attempt": "many", "metrics": "none", "retries": None})
    given = sweep.one()
    assert given.attempt == 1
    sweep.crash(given)
    sweep.complete()
    assert sweep.states == ["COMPLETE"]


def test_in_sql_too_the_word_of_others_stands(tmp_path: Path) -> None:
    storage, study = open_sqlite(tmp_path)
    with storage:
        sweep = Sweep(plan(trials=4, slots=2), study, storage=storage)
        one, other = sweep.one("a"), sweep.one("b")
        sweep.report(one, 1, 0.5)
        stock = optuna.load_study(study_name=PLAN.study, storage=f"sqlite:///{tmp_path / 'study.db'}")
        stock.tell(0, 0.125)
        stock.tell(1, state=TrialState.FAIL)
        stock.enqueue_trial({"lr": 0.5, "kind": "plain"})
        stock._storage.remove_session()
        sweep.finish(one, score=0.9)  # before we could see it
        storage.refresh()
        assert sweep.report(other, 1, 0.5, "b") is Verdict.REFUSED
        assert sweep.one("b").params == {"lr": 0.5, "kind": "plain"}
        sweep.coordinator.lost("b", Lost("node", "gone"))
        run_to_end(sweep)
        sweep.coordinator.close("done")
    trials = in_sql(tmp_path)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials[0].values == [0.125]
