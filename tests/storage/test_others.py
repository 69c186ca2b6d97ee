"""Others who write to the same study, and how a thread or a second storage sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.storage import StudyStorage, open_storage, resolve
from hpo.storage.batched import BatchedStorage
from hpo.testing.storage import assert_same_trials, plain_storage

X = {"x": optuna.distributions.FloatDistribution(0, 1)}


def _study(storage: optuna.storages.BaseStorage) -> optuna.Study:
    return optuna.load_study(study_name="a", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))


def _within(seconds: float, true: Callable[[], bool]) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, f"not seen within {seconds} s"
        time.sleep(0.02)


def test_what_others_write_is_seen_without_asking(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    study = _study(opened.optuna)
    trial = study.ask(X)
    opened.flush()
    with plain_storage(url) as plain:
        theirs = _study(plain)
        theirs.enqueue_trial({"x": 0.125})
        plain.set_study_system_attr(study._study_id, "dashboard:note:0", "look here")
        plain.set_trial_user_attr(trial._trial_id, "tag", "keep")
        trial.set_user_attr("ours", 1)
        _within(10, lambda: "dashboard:note:0" in opened.optuna.get_study_system_attrs(study._study_id))
        _within(10, lambda: "tag" in study.trials[0].user_attrs)
        assert study.ask(X).params == {"x": 0.125}
        study.tell(trial, 1.0)
        assert _study(plain).trials[0].user_attrs == {"tag": "keep", "ours": 1}


def test_a_trial_that_a_bare_optuna_works_on_is_followed(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    study = _study(opened.optuna)
    with plain_storage(url) as plain:
        theirs = _study(plain)
        trial = theirs.ask()
        assert study.ask().number == 1
        trial.suggest_float("x", 0, 1)
        trial.report(0.5, 1)
        opened.refresh()
        assert study.trials[0].intermediate_values == {1: 0.5}
        assert study.trials[0].params == trial.params
        theirs.tell(trial, 0.25)
        opened.refresh()
        assert study.best_trial.number == 0
        opened.flush()
        assert_same_trials(study.trials, _study(plain).trials)


def test_an_enqueued_trial_goes_to_one_of_two(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    study = _study(opened.optuna)
    study.enqueue_trial({"x": 0.5})
    with plain_storage(url) as plain:
        assert _study(plain).ask().number == 0
        assert study.ask().number == 1  # memory still says WAITING; the database decides
        assert study.trials[0].state == TrialState.RUNNING


def test_a_trial_finished_by_others_takes_no_more_reports(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    study = _study(opened.optuna)
    trial = study.ask(X)
    opened.flush()
    trial.report(1.0, 1)
    with plain_storage(url) as plain:
        plain.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        trial.report(2.0, 2)
        opened.flush()
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            trial.report(3.0, 3)
        assert study.trials[0].state == TrialState.FAIL
        assert_same_trials(study.trials, _study(plain).trials)


def test_inside_a_batch_the_state_of_others_shows_afterwards(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    study = _study(opened.optuna)
    trial, other = study.ask(), study.ask()
    with plain_storage(url) as plain:
        plain.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        with opened.batch():
            study.tell(trial, 1.0)
            study.tell(other, 2.0)
        assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE"]
        assert_same_trials(study.trials, _study(plain).trials)


def test_a_study_deleted_by_others_is_gone(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    storage = opened.optuna
    study = _study(storage)
    trial = study.ask()
    with plain_storage(url) as plain:
        optuna.delete_study(study_name="a", storage=plain)
        trial.report(1.0, 1)
        study.set_user_attr("x", 1)
        opened.flush()  # drops what belongs to nobody
        with pytest.raises(KeyError):
            storage.get_all_trials(study._study_id)
        with pytest.raises(KeyError):
            storage.create_new_trial(study._study_id)
        # SQLite gives the id away again: nothing of the old study may show
        opened.create_study("b", ["maximize"])
        assert optuna.load_study(study_name="b", storage=storage).trials == []
        assert optuna.load_study(study_name="b", storage=plain).user_attrs == {}


def test_two_storages_on_different_studies(url: str, opened: StudyStorage) -> None:
    with open_storage(url) as second:
        studies = []
        for n, storage in enumerate((opened, second)):
            storage.create_study(f"s{n}", ["minimize"])
            studies.append(optuna.load_study(study_name=f"s{n}", storage=storage.optuna))
        for n in range(5):
            for study in studies:
                trial = study.ask(X)
                trial.report(float(n), n)
                study.tell(trial, float(n))
        opened.flush()
        second.flush()
        with plain_storage(url) as plain:
            for study in studies:
                theirs = optuna.load_study(study_name=study.study_name, storage=plain)
                assert_same_trials(study.trials, theirs.trials)


def test_threads_share_a_storage(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            study = optuna.load_study(
                study_name="a", storage=opened.optuna, sampler=optuna.samplers.RandomSampler(seed=seed)
            )
            for _ in range(8):
                with opened.batch():
                    trial = study.ask(X)
                for step in range(10):
                    trial.report(float(step), step)
                study.tell(trial, trial.params["x"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    trials = _study(opened.optuna).trials
    assert [t.number for t in trials] == list(range(32))
    assert all(len(t.intermediate_values) == 10 and t.state == TrialState.COMPLETE for t in trials)
    with plain_storage(url) as plain:
        assert_same_trials(trials, _study(plain).trials)


def test_load_study_by_url_reads_while_we_write(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    seen: list[int] = []
    done = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            with plain_storage(resolve(url)) as plain:
                while not done.is_set():
                    trials = _study(plain).trials
                    finished = [t for t in trials if t.state == TrialState.COMPLETE]
                    # the writer commits a curve before, and a value with, its final state
                    assert all(len(t.intermediate_values) == 5 and t.value is not None for t in finished)
                    seen.append(len(finished))
        except BaseException as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    study = _study(opened.optuna)
    gives_up = time.monotonic() + 60
    while len(set(seen)) < 3 and not errors and time.monotonic() < gives_up:
        with opened.batch():
            trial = study.ask(X)
        for step in range(5):
            trial.report(1.0, step)
        study.tell(trial, 0.5)
    done.set()
    reader.join()
    assert errors == []
    assert len(set(seen)) >= 3
    assert seen == sorted(seen)


def test_intermediate_values_are_committed_within_half_a_second(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    trial = _study(opened.optuna).ask(X)
    opened.flush()
    with plain_storage(url) as plain:
        for step in range(3):
            trial.report(0.5, step)
            reported = time.monotonic()
            _within(5, lambda step=step: step in plain.get_trial(trial._trial_id).intermediate_values)
            # 0.25 s of lag, the rest for a busy machine
            assert time.monotonic() - reported < 2


def test_parameters_are_committed_when_a_batch_ends(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    study = _study(opened.optuna)
    with plain_storage(url) as plain:
        for _ in range(3):
            with opened.batch():
                with opened.batch():
                    trial = study.ask(X)
                assert plain.get_trial(trial._trial_id).params in ({}, trial.params)
            assert plain.get_trial(trial._trial_id).params == trial.params


def test_a_batch_of_reports_alone_commits_nothing(storage: BatchedStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "a")
    trial_id = storage.create_new_trial(study_id)
    storage._ticker.stop()
    with storage.batch():
        storage.set_trial_intermediate_value(trial_id, 1, 1.0)
    assert len(storage._pending) == 1
    with storage.batch():
        storage.set_trial_state_values(trial_id, TrialState.PRUNED)
        assert len(storage._pending) == 2
    assert len(storage._pending) == 0


def test_a_storage_nobody_closes_lets_its_thread_go(url: str) -> None:
    opened = open_storage(url)
    assert opened.study_names() == []
    opened.create_study("a", ["minimize"])
    before = {thread for thread in threading.enumerate() if thread.name == "hpo-storage"}
    assert len(before) == 1
    del opened
    _within(10, lambda: not any(thread.is_alive() for thread in before))


def test_attributes_are_what_they_will_be_read_as(storage: BatchedStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "a")
    trial_id = storage.create_new_trial(study_id)
    value = {"steps": (1, 2), 3: "three"}
    storage.set_trial_user_attr(trial_id, "a", value)
    value["steps"] = "changed by its owner afterwards"
    assert storage.get_trial(trial_id).user_attrs == {"a": {"steps": [1, 2], "3": "three"}}


def test_changes_are_told_once_and_by_whomever(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    study = _study(opened.optuna)
    storage = opened.optuna
    assert isinstance(storage, BatchedStorage)

    def numbers() -> list[int]:
        nonlocal seen
        changed, seen = storage.changes(study._study_id, seen)
        return [trial.number for trial in changed]

    first, second = study.ask(), study.ask()
    seen = 0
    assert numbers() == [0, 1]
    assert numbers() == []
    first.suggest_float("x", 0, 1)
    second.report(0.5, 1)
    assert numbers() == []
    storage.set_trial_system_attr(second._trial_id, "completed_rung_0", 0.5)
    study.tell(first, 1.0)
    assert numbers() == [1, 0]
    with plain_storage(url) as plain:
        theirs = _study(plain)
        theirs.tell(1, state=TrialState.FAIL)
        theirs.ask()
    opened.refresh()
    assert sorted(numbers()) == [1, 2]
    assert [trial.state for trial in storage.changes(study._study_id, 0)[0]] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
