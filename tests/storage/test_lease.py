"""One driver at a time: who may take a study, and which of racing launches does."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hpo.storage import Fenced, Held, Holder, Lease, RunFacts, StudyRecords, StudyStorage, open_storage

NOW = datetime(2026, 3, 1, 12, 0, 0, 5, UTC)


def _holder(host: str) -> Holder:
    return Holder(host, 1, 2.5, NOW)


def _take(records: StudyRecords, host: str) -> Lease:
    """As somebody does who has looked at the lease just now."""
    return records.take(_holder(host), records.lease(), RunFacts(), NOW)


@pytest.fixture
def records(opened: StudyStorage) -> StudyRecords:
    opened.create_study("a", ["minimize"])
    return opened.records("a")


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


def _race_of_threads(url: str, name: str) -> list[Lease | Held]:
    """What four threads get that take a study at once, each having seen the lease as it is now."""
    with open_storage(url) as storage:
        seen = storage.records(name).lease()
    barrier, outcomes = threading.Barrier(4), []

    def race(host: str) -> None:
        with open_storage(url) as storage:
            records = storage.records(name)
            barrier.wait()
            try:
                outcomes.append(records.take(_holder(host), seen, RunFacts(), NOW))
            except Held as held:
                outcomes.append(held)

    threads = [threading.Thread(target=race, args=(f"{time.monotonic_ns()}-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.mark.parametrize("studies", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_of_racing_threads_one_takes(url: str, opened: StudyStorage, studies: int) -> None:
    """A study that hpo never wrote to, and so has no UUID yet; then the same once more, from the first taker."""
    for number in range(studies):
        opened.create_study(f"s{number}", ["minimize"])
        for fencing in (1, 2):
            outcomes = _race_of_threads(url, f"s{number}")
            (lease,) = [outcome for outcome in outcomes if isinstance(outcome, Lease)]
            assert (lease.fencing, len(outcomes)) == (fencing, 4)
            assert len(opened.records(f"s{number}").runs()) == fencing


def _race(url: str, host: str, barrier: multiprocessing.synchronize.Barrier, said: multiprocessing.Queue[str]) -> None:
    with open_storage(url) as storage:
        records = storage.records("a")
        barrier.wait()
        try:
            said.put(f"taken {records.take(_holder(host), None, RunFacts(), NOW).fencing}")
        except Held as held:
            said.put(str(held))


@pytest.mark.parametrize("url", ["sqlite", "postgresql", pytest.param("mysql", marks=pytest.mark.slow)], indirect=True)
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
