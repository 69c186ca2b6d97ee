"""What becomes of a driver that was taken over, deleted, killed or stopped: nothing of it is written any more."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import pickle
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import optuna
import pytest

from hpo.storage import Fenced, Holder, Lease, RunFacts, StorageLost, StudyRecords, StudyStorage, open_storage
from hpo.storage.batched import BatchedStorage
from hpo.storage.dialects import MySQL, PostgreSQL
from hpo.storage.place import read_url
from hpo.testing.storage import plain_storage

X = {"x": optuna.distributions.FloatDistribution(0, 1)}
NOW = datetime(2026, 3, 1, 12, 0, 0, 5, UTC)


def _holder(host: str) -> Holder:
    return Holder(host, 1, 2.5, NOW)


def _take(records: StudyRecords, host: str, *, alive: bool = False) -> Lease:
    """As somebody does who has looked at the lease just now."""
    return records.take(_holder(host), records.lease(), RunFacts(), NOW, alive=alive)


def _study(storage: StudyStorage) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.load_study(study_name="a", storage=storage.optuna, sampler=sampler)


def _stored(url: str) -> list[tuple[str, int]]:
    """State and number of intermediate values of each trial, as a plain Optuna reads them."""
    with plain_storage(url) as plain:
        trials = optuna.load_study(study_name="a", storage=plain).trials
    return [(trial.state.name, len(trial.intermediate_values)) for trial in trials]


@pytest.fixture
def records(opened: StudyStorage) -> StudyRecords:
    opened.create_study("a", ["minimize"])
    return opened.records("a")


def test_a_lease_changes_nothing_for_its_holder(url: str, records: StudyRecords) -> None:
    with open_storage(url, lease=_take(records, "ada")) as storage:
        study = _study(storage)
        trial = study.ask(X)
        trial.report(1.0, 1)
        study.tell(trial, 1.0)
        storage.records("a").add_sweep("{}", "ada", NOW)
    assert _stored(url) == [("COMPLETE", 1)]


def test_a_fenced_storage_writes_nothing_more(url: str, records: StudyRecords) -> None:
    storage = open_storage(url, lease=_take(records, "ada"))
    study = _study(storage)
    study.tell(study.ask(X), 0.5)
    trial = study.ask(X)
    storage.flush()
    kept = storage.optuna
    assert isinstance(kept, BatchedStorage)
    with kept._db:  # the background thread waits
        trial.report(1.0, 1)
        storage.report_metrics(trial._trial_id, 1, {"loss": 1.0})
        storage.log_event("requeued", "too late")
        _take(records, "bob", alive=True)
    with pytest.raises(Fenced, match=r"study 'a' was taken over by process 1 on bob, since 2026") as caught:
        study.tell(trial, 1.0)
    assert isinstance(caught.value, StorageLost)
    assert caught.value.exit_code == 1
    for write in (
        lambda: trial.report(2.0, 2),
        lambda: study.ask(X),
        lambda: storage.report_metrics(trial._trial_id, 2, {"loss": 1.0}),
        lambda: storage.log_event("requeued", "too late"),
        lambda: storage.records("a").add_sweep("{}", "ada", NOW),
        storage.flush,
        storage.close,
    ):
        with pytest.raises(Fenced):
            write()
    assert _stored(url) == [("COMPLETE", 0), ("RUNNING", 0)]
    assert (records.metrics(), records.events(), records.sweeps()) == ({}, [], [])


def test_what_waits_to_be_written_is_dropped_when_the_background_finds_out(url: str, records: StudyRecords) -> None:
    storage = open_storage(url, lease=_take(records, "ada"))
    trial = _study(storage).ask(X)
    storage.flush()
    kept = storage.optuna
    assert isinstance(kept, BatchedStorage)
    _take(records, "bob", alive=True)
    trial.report(1.0, 1)
    gives_up = time.monotonic() + 30
    while kept._broken is None:
        assert time.monotonic() < gives_up
        time.sleep(0.05)
    assert len(kept._pending) == 0
    with pytest.raises(Fenced):
        storage.close()
    assert _stored(url) == [("RUNNING", 0)]


def test_a_copy_in_another_process_carries_the_lease(url: str, records: StudyRecords) -> None:
    with open_storage(url, lease=_take(records, "ada")) as storage:
        copied = pickle.loads(pickle.dumps(storage.optuna))
    study_id = copied.get_study_id_from_name("a")
    copied.create_new_trial(study_id)
    _take(records, "bob", alive=True)
    with pytest.raises(Fenced):
        copied.create_new_trial(study_id)
    with pytest.raises(Fenced):
        copied.close()


def test_optunas_own_storage_is_fenced_too(url: str, records: StudyRecords) -> None:
    """Which writes where hpo does not know Optuna's schema."""
    lease = _take(records, "ada")
    with StudyStorage(read_url(url), known=frozenset({"v0.0.0"}), lease=lease) as storage:
        study = _study(storage)
        trial = study.ask(X)
        storage.report_metrics(trial._trial_id, 1, {"loss": 0.5})
        storage.log_event("launched", "by hand")
        _take(records, "bob", alive=True)
        for write in (
            lambda: study.tell(trial, 1.0),
            lambda: trial.report(1.0, 1),
            lambda: storage.report_metrics(trial._trial_id, 2, {"loss": 0.5}),
            lambda: storage.log_event("requeued", "too late"),
        ):
            with pytest.raises(Fenced, match="taken over by process 1 on bob"):
                write()
    assert _stored(url) == [("RUNNING", 0)]
    assert records.metrics() == {0: {"loss": {1: 0.5}}}
    assert [event.kind for event in records.events()] == ["launched"]


def test_a_study_deleted_under_its_driver(url: str, opened: StudyStorage, records: StudyRecords) -> None:
    storage = open_storage(url, lease=_take(records, "ada"))
    study = _study(storage)
    opened.delete_study("a")
    opened.create_study("a", ["minimize"])
    with pytest.raises(Fenced, match="the study was deleted while this run worked on it"):
        study.ask(X)
    with pytest.raises(Fenced):
        storage.close()
    assert _stored(url) == []


def test_drivers_of_different_studies_share_a_database(url: str, opened: StudyStorage, records: StudyRecords) -> None:
    opened.create_study("b", ["minimize"])
    leases = _take(records, "ada"), _take(opened.records("b"), "bob")
    assert [lease.fencing for lease in leases] == [1, 1]
    for name, lease in zip("ab", leases, strict=True):
        with open_storage(url, lease=lease) as storage:
            study = optuna.load_study(study_name=name, storage=storage.optuna)
            study.tell(study.ask(X), 1.0)
    assert [len(study.trials) for study in map(opened_study(opened), "ab")] == [1, 1]


def opened_study(storage: StudyStorage) -> Callable[[str], optuna.Study]:
    """A study by its name, as it is now."""
    storage.refresh()
    return lambda name: optuna.load_study(study_name=name, storage=storage.optuna)


def _tell_until_fenced(url: str, lease: Lease, told: list[int], ended: list[BaseException]) -> None:
    storage = open_storage(url, lease=lease)
    study = _study(storage)
    try:
        while True:
            with storage.batch():
                trial = study.ask(X)
            trial.report(1.0, 1)
            study.tell(trial, 1.0)
            told.append(trial.number)
    except BaseException as error:
        ended.append(error)
    with pytest.raises(Fenced):
        storage.close()


@pytest.mark.parametrize("turns", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_nothing_is_written_by_the_old_driver_after_a_takeover(url: str, records: StudyRecords, turns: int) -> None:
    """A driver that tells as quickly as it can, taken over in mid-flight: the database stands still at once."""
    lease = _take(records, "0")
    for turn in range(1, turns + 1):
        told, ended = [], []
        driver = threading.Thread(target=_tell_until_fenced, args=(url, lease, told, ended))
        driver.start()
        gives_up = time.monotonic() + 30
        while len(told) < 3 and not ended:
            assert time.monotonic() < gives_up
            time.sleep(0.001)
        lease = _take(records, str(turn), alive=True)
        taken = _stored(url)
        driver.join()
        assert _stored(url) == taken
        assert isinstance(ended[0], Fenced)
        # what it was told is stored is there
        assert {number for number in told if taken[number] != ("COMPLETE", 1)} == set()


# -- drivers that die or stand still


def _drive(url: str, lease: Lease, says: multiprocessing.connection.Connection) -> None:
    study = _study(storage := open_storage(url, lease=lease))
    while True:
        with storage.batch():
            trial = study.ask(X)
        trial.report(1.0, 1)
        study.tell(trial, 1.0)
        says.send(trial.number)


@pytest.mark.parametrize("url", ["sqlite", "postgresql", pytest.param("mysql", marks=pytest.mark.slow)], indirect=True)
def test_a_driver_killed_leaves_a_lease_that_can_be_taken(url: str, records: StudyRecords) -> None:
    lease = _take(records, "ada")
    context = multiprocessing.get_context("spawn")
    hears, says = context.Pipe(duplex=False)
    driver = context.Process(target=_drive, args=(url, lease, says))
    driver.start()
    said = [hears.recv() for _ in range(5)]
    driver.kill()
    driver.join()
    says.close()
    try:
        while hears.poll():
            said.append(hears.recv())
    except EOFError:  # killed while it spoke
        pass
    state = records.lease()
    assert state is not None
    assert (state.fencing, state.released) == (1, None)
    lease = _take(records, "bob")
    stored = _stored(url)
    assert [stored[number] for number in said] == [("COMPLETE", 1)] * len(said)
    with open_storage(url, lease=lease) as storage:
        study = _study(storage)
        study.tell(study.ask(X), 1.0)
    assert len(_stored(url)) == len(stored) + 1


@pytest.mark.parametrize("url", ["postgresql", "mysql"], indirect=True)
def test_a_driver_that_stands_still_in_a_transaction_loses_its_locks(
    url: str, records: StudyRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SIGSTOP leaves it. SQLite knows nothing of this: its file stays locked until the process goes on or dies."""
    for dialect in (PostgreSQL, MySQL):
        monkeypatch.setattr(dialect, "idle_seconds", 1)
    storage = open_storage(url, lease=_take(records, "ada"))
    kept = storage.optuna
    assert isinstance(kept, BatchedStorage)
    inside, go_on = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    def stand_still(_connection: object, _retried: bool) -> None:
        inside.set()
        go_on.wait(60)

    def drive() -> None:
        try:
            with kept._db:
                kept._commit(stand_still)
        except BaseException as error:
            ended.append(error)

    driver = threading.Thread(target=drive)
    driver.start()
    inside.wait(60)
    began = time.monotonic()
    assert _take(records, "bob", alive=True).fencing == 2
    assert time.monotonic() - began < 20
    go_on.set()
    driver.join()
    assert isinstance(ended[0], Fenced)
    with pytest.raises(Fenced):
        storage.close()
