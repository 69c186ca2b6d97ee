"""One driver at a time: racing launches, takeovers, and what becomes of a driver that was taken over."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.synchronize
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import optuna
import pytest

from hpo.storage import Fenced, Held, Holder, Lease, RunFacts, StorageLost, StudyRecords, StudyStorage, open_storage
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


# -- taking


def test_a_held_study_is_refused_with_who_and_since_when(records: StudyRecords) -> None:
    before = records.lease()
    lease = _take(records, "ada")
    assert (before, lease.fencing, lease.run) == (None, 1, records.runs()[0].id)
    with pytest.raises(Held, match=r"^study 'a' is being run by process 1 on ada, since 2026-03-01T") as caught:
        records.take(_holder("bob"), before, RunFacts(), NOW)
    assert caught.value.exit_code == 2
    assert [run.holder.host for run in records.runs()] == ["ada"]


def test_a_beat_since_one_looked_keeps_the_study(records: StudyRecords) -> None:
    lease = _take(records, "ada")
    seen = records.lease()
    records.renew(lease, 1.0, NOW)
    with pytest.raises(Held):
        records.take(_holder("bob"), seen, RunFacts(), NOW)
    taken = records.take(_holder("bob"), seen, RunFacts(), NOW, alive=True)  # --takeover
    assert taken.fencing == 2
    with pytest.raises(Held, match="on bob"):  # the number has changed since
        records.take(_holder("eve"), seen, RunFacts(), NOW, alive=True)


def test_a_silent_holder_is_taken_over_and_its_run_ended(records: StudyRecords) -> None:
    first = _take(records, "ada")
    later = NOW + timedelta(minutes=1)
    second = records.take(_holder("bob"), records.lease(), RunFacts(), later)
    assert (second.fencing, second.study, second.study_uuid) == (2, first.study, first.study_uuid)
    state = records.lease()
    assert state is not None
    assert (state.holder, state.beat, state.released) == (_holder("bob"), 0, None)
    over, now = records.runs()
    assert (over.ended, over.reason) == (later, f"taken over by {_holder('bob')}")
    assert (now.id, now.fencing, now.ended) == (second.run, 2, None)


def test_a_released_study_is_free_whatever_one_saw(records: StudyRecords) -> None:
    records.release(_take(records, "ada"), "done", 1.0, NOW)
    state = records.lease()
    assert state is not None
    assert state.released == NOW
    lease = records.take(_holder("bob"), None, RunFacts(), NOW)
    assert lease.fencing == 2
    assert [run.reason for run in records.runs()] == ["done", None]


def test_taking_twice_as_the_same_process_is_taking_once(records: StudyRecords) -> None:
    """An attempt whose answer was lost is done anew."""
    lease = _take(records, "ada")
    assert records.take(_holder("ada"), None, RunFacts(), NOW) == lease
    assert len(records.runs()) == 1


def test_a_coordinator_started_anew_fences_the_one_before(records: StudyRecords) -> None:
    lease = _take(records, "ada")
    newer = records.advance(lease, NOW)
    assert newer == replace(lease, fencing=2)
    for stale in (
        lambda: records.renew(lease, 1.0, NOW),
        lambda: records.advance(lease, NOW),
        lambda: records.release(lease, "done", 1.0, NOW),
    ):
        with pytest.raises(Fenced, match=r"its fencing number is 2, ours 1\); nothing more of this run is written"):
            stale()
    records.renew(newer, 1.0, NOW)
    (run,) = records.runs()
    assert (run.fencing, run.seconds, run.ended) == (2, 1.0, None)


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_of_racing_threads_one_takes(url: str, records: StudyRecords, rounds: int) -> None:
    for number in range(1, rounds + 1):
        seen, barrier = records.lease(), threading.Barrier(4)
        outcomes: list[Lease | Held] = []

        def race(host: str) -> None:
            with open_storage(url) as storage:
                own = storage.records("a")
                barrier.wait()  # noqa: B023
                try:
                    outcomes.append(own.take(_holder(host), seen, RunFacts(), NOW))  # noqa: B023
                except Held as held:
                    outcomes.append(held)  # noqa: B023

        threads = [threading.Thread(target=race, args=(f"{number}-{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (lease,) = [outcome for outcome in outcomes if isinstance(outcome, Lease)]
        assert (lease.fencing, len(outcomes), len(records.runs())) == (number, 4, number)


def _race(url: str, host: str, barrier: multiprocessing.synchronize.Barrier, said: multiprocessing.Queue[str]) -> None:
    with open_storage(url) as storage:
        records = storage.records("a")
        barrier.wait()
        try:
            said.put(f"taken {records.take(_holder(host), None, RunFacts(), NOW).fencing}")
        except Held as held:
            said.put(str(held))


def test_of_racing_processes_one_takes(url: str, records: StudyRecords) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, said = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_race, args=(url, f"host{n}", barrier, said)) for n in range(2)]
    for racer in racers:
        racer.start()
    outcomes = sorted(said.get(timeout=60) for _ in racers)
    for racer in racers:
        racer.join()
    winner = records.runs()[0].holder
    assert outcomes == [f"study 'a' is being run by {winner}", "taken 1"]


# -- writing under a lease


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
    _take(records, "bob", alive=True)
    trial.report(1.0, 1)
    kept = storage.optuna
    assert isinstance(kept, BatchedStorage)
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


@pytest.mark.parametrize("turns", [3, pytest.param(30, marks=pytest.mark.slow)])
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
