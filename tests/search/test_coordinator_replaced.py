"""The same sweep gives the same trials: twice, in one run or in many, ended cleanly or killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.search.messages import Finished, Lost, Report, Saving
from hpo.search.plan import Objective, SearchPlan
from hpo.training import Verdict
from tests.search.driving import Sweep, essence, in_sql, kill, memory_study, open_sqlite, plan, run_to_end, score

PRUNERS: list[Any] = ["none", {"name": "hyperband", "min_resource": 1}, "median"]
WANTED = [
    *[plan(trials=24, sampler=name, pruner=pruner) for name in ("random", "tpe") for pruner in PRUNERS],
    *[plan(trials=16, sampler=name, space=plan().space) for name in ("cmaes", "qmc", "nsgaii")],
]


def name_of(wanted: SearchPlan) -> str:
    return f"{wanted.sampler.name}-{wanted.pruner.name}"


@pytest.mark.parametrize("wanted", WANTED, ids=name_of)
def test_the_same_seed_at_one_slot_gives_the_same_trials_also_when_the_coordinator_is_replaced(
    wanted: SearchPlan,
) -> None:
    straight = Sweep(wanted)
    run_to_end(straight)
    assert len(straight.states) == wanted.trials
    twice = Sweep(wanted)
    run_to_end(twice)
    assert essence(twice.study) == essence(straight.study)

    cut = Sweep(wanted)
    while not cut.coordinator.is_over():
        for _ in range(3):
            run_one(cut)
        stop_in_the_middle(cut)
        cut = cut.again()
    assert essence(cut.study) == essence(straight.study)


def test_another_seed_gives_other_trials() -> None:
    studies = []
    for seed in (0, 1):
        sweep = Sweep(plan(seed=seed))
        run_to_end(sweep)
        studies.append(essence(sweep.study))
    assert studies[0] != studies[1]


def run_one(sweep: Sweep) -> None:
    for given in sweep.ask():
        for step in range(1, 10):
            if sweep.report(given, step, score(given.params, step)) is not Verdict.GO_ON:
                return
        sweep.finish(given)


def stop_in_the_middle(sweep: Sweep) -> None:
    """As after Ctrl-C: the trial in flight, if there is one, is put back at its next report."""
    given = sweep.ask()
    if given and sweep.report(given[0], 1, score(given[0].params, 1)) is Verdict.GO_ON:
        sweep.coordinator.drain("stopped by SIGINT")
        if sweep.report(given[0], 2, score(given[0].params, 2)) is Verdict.PUT_BACK:
            sweep.release(given[0])
    sweep.coordinator.close("stopped by SIGINT")
    assert "RUNNING" not in sweep.states


@pytest.mark.parametrize("pruner", ["none", {"name": "hyperband", "min_resource": 1}], ids=["none", "hyperband"])
def test_a_killed_run_goes_on_to_the_same_trials(tmp_path: Path, pruner: Any) -> None:
    wanted = plan(trials=8, sampler="tpe", pruner=pruner)
    straight = Sweep(wanted)
    run_to_end(straight)
    for turn in range(100):
        storage, study = open_sqlite(tmp_path, wanted)
        sweep = Sweep(wanted, study, storage=storage)
        if sweep.coordinator.is_over():
            break
        run_one(sweep)
        for given in sweep.ask():
            for step in range(1, 2 + turn % 4):
                sweep.report(given, step, score(given.params, step))
        kill(storage)
    with storage:
        sweep.coordinator.close("done")
        assert essence(study) == essence(straight.study)
    assert [trial.state.name for trial in in_sql(tmp_path)] == straight.states


def test_what_an_answer_rests_on_is_in_sql_before_it_leaves(tmp_path: Path) -> None:
    wanted = plan(trials=40, slots=2, pruner={"name": "threshold", "lower": 0.2}, retries=1)
    storage, study = open_sqlite(tmp_path, wanted)
    with storage:
        sweep = Sweep(wanted, study, storage=storage)
        given = sweep.ask("a", free=3)
        for one in given:
            trial = in_sql(tmp_path)[one.number]
            assert (trial.state.name, trial.params) == ("RUNNING", one.params)
            assert (trial.user_attrs["seed"], trial.user_attrs["attempt"]) == (one.seed, 1)
        said = [Report(n, 1, 1, {"score": value}) for n, value in ((0, 0.5), (1, 0.125))]
        sweep.coordinator.exchange("a", [*said, Finished(2, 1, {"score": 0.75})], 0)
        trials = in_sql(tmp_path)
        assert [trial.state.name for trial in trials] == ["RUNNING", "PRUNED", "COMPLETE"]
        assert [trial.intermediate_values for trial in trials] == [{1: 0.5}, {1: 0.125}, {}]
        assert [trial.values for trial in trials[1:]] == [[0.125], [0.75]]
        assert "threshold" in trials[1].user_attrs["reason"]
        sweep.crash(given[0], "OSError: disk")
        trial = in_sql(tmp_path)[0]
        assert (trial.state.name, trial.user_attrs["retries"]) == ("WAITING", 1)
        again = sweep.one("b")
        trial = in_sql(tmp_path)[0]
        assert (again.number, trial.state.name, trial.user_attrs["attempt"]) == (0, "RUNNING", 2)
        sweep.coordinator.close("stopped")
        assert in_sql(tmp_path)[0].state.name == "WAITING"


def test_what_a_checkpoint_rests_on_is_in_sql_before_it_may_be_written(tmp_path: Path) -> None:
    storage, study = open_sqlite(tmp_path)
    with storage:
        sweep = Sweep(plan(), study, storage=storage)
        given = sweep.one()
        for step in (1, 2, 3):
            sweep.report(given, step, 0.5)
        answer = sweep.coordinator.exchange("a", [Saving(given.number, given.attempt)], 0)
        assert answer.verdicts == (Verdict.GO_ON,)
        assert in_sql(tmp_path)[0].intermediate_values == {1: 0.5, 2: 0.5, 3: 0.5}
        sweep.coordinator.lost("a", Lost("node", "its node died"))
        answer = sweep.coordinator.exchange("a", [Saving(given.number, given.attempt)], 0)
        assert answer.verdicts == (Verdict.REFUSED,)


def test_several_objectives_survive_sql(tmp_path: Path) -> None:
    wanted = plan(trials=2, objectives=(Objective("score", "maximize"), Objective("loss", "minimize")))
    storage, study = open_sqlite(tmp_path, wanted)
    with storage:
        sweep = Sweep(wanted, study, storage=storage)
        for loss in (0.5, 0.25):
            given = sweep.one()
            sweep.report(given, 1, 0.5, loss=1.0)
            sweep.report(given, 2, 0.75, loss=loss)
            sweep.finish(given)
        sweep.coordinator.close("done")
    assert [trial.values for trial in in_sql(tmp_path)] == [[0.75, 0.5], [0.75, 0.25]]
    assert [trial.intermediate_values for trial in in_sql(tmp_path)] == [{1: 0.5, 2: 0.75}] * 2


def test_memory_and_sql_give_the_same_trials(tmp_path: Path) -> None:
    wanted = plan(trials=10, sampler="tpe")
    in_memory = Sweep(wanted, memory_study(wanted))
    run_to_end(in_memory)
    storage, study = open_sqlite(tmp_path, wanted)
    with storage:
        run_to_end(Sweep(wanted, study, storage=storage))
        assert essence(study) == essence(in_memory.study)
