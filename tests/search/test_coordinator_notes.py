"""What a run notes for people, and what trials report besides the objective; as the coordinator says it, and in SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import optuna

from hpo.holding import this_process
from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import Finished, Lost, Report
from hpo.search.plan import Objective
from hpo.storage import RunFacts, open_storage
from tests.search.driving import Sweep, plan


def test_a_run_notes_what_it_adopts_puts_back_and_why_it_ends() -> None:
    sweep = Sweep(plan(slots=2, retries=1))
    one, other = sweep.one("a"), sweep.one("b")
    sweep.crash(one, "OSError: disk")
    sweep.coordinator.lost("b", Lost("node", "its node died"))
    sweep.one("a")
    sweep.coordinator.close("stopped by SIGINT")
    assert sweep.noted == [
        ("requeued", "requeued trial 0: OSError: disk", one.number),
        ("requeued", "requeued trial 1: its node died", other.number),
        ("requeued", "requeued trial 0: stopped by SIGINT", 0),
        ("stopped", "stopped by SIGINT: 0 trials ended", None),
    ]


def test_trials_of_a_dead_run_are_noted_as_adopted() -> None:
    sweep = Sweep(plan(slots=2))
    sweep.one("a")
    sweep.one("b")
    again = sweep.again()
    assert again.noted == [
        ("adopted", "adopted trial 0: its run ended", 0),
        ("adopted", "adopted trial 1: its run ended", 1),
    ]


def test_the_end_is_noted_with_its_reason() -> None:
    failed = Sweep()
    failed.complete()
    failed.coordinator.fail("the disk is on fire")
    failed.coordinator.close("done")
    assert failed.noted[-1] == ("failed", "the disk is on fire: 1 trial ended", None)
    stopped = Sweep(plan(trials=None, seconds=60.0))
    stopped.complete()
    stopped.clock.now += 60
    stopped.coordinator.tick()
    stopped.coordinator.close("done")
    done = Sweep(plan(trials=2))
    done.complete()
    done.complete()
    done.coordinator.close("done")
    assert done.noted == [("finished", "done: 2 trials ended", None)]
    assert stopped.noted[-1] == ("stopped", "time used up: 1 trial ended", None)


def test_everything_besides_the_objective_is_recorded_step_by_step() -> None:
    sweep = Sweep()
    given = sweep.one()
    sweep.report(given, 1, 0.5, loss=2.0, seconds=3)
    sweep.report(given, 2, 0.75)
    sweep.report(given, 4, 0.5, loss=float("nan"))
    sweep.finish(given)
    trial_id = sweep.trial(0)._trial_id
    assert [(*key, sorted(said)) for *key, said in sweep.recorded] == [
        (trial_id, 1, ["loss", "seconds"]),
        (trial_id, 4, ["loss"]),
    ]
    assert sweep.recorded[0][2] == {"loss": 2.0, "seconds": 3.0}


def test_with_several_objectives_all_but_the_first_are_recorded() -> None:
    sweep = Sweep(plan(objectives=(Objective("score", "maximize"), Objective("loss", "minimize"))))
    given = sweep.one()
    sweep.report(given, 1, 0.5, loss=2.0, more=1.0)
    assert [said for *_, said in sweep.recorded] == [{"loss": 2.0, "more": 1.0}]


def test_metrics_and_notes_are_in_sql_with_what_they_belong_to(tmp_path: Path) -> None:
    url, wanted, now = f"sqlite:///{tmp_path / 'study.db'}", plan(), datetime.now(UTC)
    with open_storage(url) as made:
        made.create_study("study", ["maximize"])
        lease = made.records("study").take(this_process("local"), None, RunFacts(), now)
    with open_storage(url, lease) as storage, open_storage(url) as others:
        study = optuna.load_study(study_name="study", storage=storage.optuna)
        live = LiveStudy(study, wanted, storage.flush, None, storage.batch, storage.report_metrics, storage.log_event)
        coordinator = Coordinator(live, wanted)
        coordinator.open_slot("a")
        (given,) = coordinator.exchange("a", [], 1).assignments
        for step in (1, 2):
            metrics = {"score": 0.5, "loss": 1.0 / step, "worst": float("-inf")}
            coordinator.exchange("a", [Report(given.number, given.attempt, step, metrics)], 0)
        coordinator.exchange("a", [Finished(given.number, given.attempt)], 0)
        curves = others.records("study").metrics()
        assert curves == {0: {"loss": {1: 1.0, 2: 0.5}, "worst": {1: float("-inf"), 2: float("-inf")}}}
        coordinator.exchange("a", [], 1)
        coordinator.lost("a", Lost("node", "postgresql://me:s3cret@db fell over"))
        coordinator.close("done")
        events = others.records("study").events()
    assert [(event.kind, event.trial, event.run) for event in events] == [
        ("requeued", 1, lease.run),
        ("finished", None, lease.run),
    ]
    assert events[0].text == "requeued trial 1: postgresql://me:***@db fell over"
