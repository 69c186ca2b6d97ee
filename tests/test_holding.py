"""Who works on a study: holders that live, are gone, are silent or let go; and clocks, which are never compared."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from hpo import holding
from hpo.holding import Tenure, facts, is_gone, process_started, this_process, wait_until_free
from hpo.storage import Fenced, Held, LeaseState, StudyRecords, open_storage
from tests.held import SINCE, holder, record_run


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a database with one empty study, `s`."""
    url = f"sqlite:///{tmp_path / 'hpo.db'}"
    with open_storage(url) as storage:
        storage.create_study("s", ["maximize"])
    return url


@pytest.fixture
def records(url: str) -> Iterator[StudyRecords]:
    """Of that study."""
    with open_storage(url) as storage:
        yield storage.records("s")


class Watch:
    """A clock that moves when somebody sleeps; what is said; and what happens meanwhile."""

    def __init__(self, meanwhile: Callable[[float], None] = lambda now: None) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self._meanwhile = meanwhile

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._meanwhile(self.now)

    def until_free(self, records: StudyRecords, *, takeover: bool = False) -> LeaseState | None:
        return wait_until_free(records, self.said.append, takeover=takeover, clock=lambda: self.now, sleep=self.sleep)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# ------------------------------------------------------------------------------------------------------ processes


def test_a_process_is_known_by_its_start() -> None:
    assert not is_gone(holder())
    assert is_gone(holder(process_started=1.0)), "the pid was given away again"
    assert is_gone(holder(pid=dead_pid()))
    assert not is_gone(holder(host="elsewhere", process_started=1.0)), "of another host nothing is known"


def test_a_zombie_runs_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_started(process.pid) is not None
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert process_started(process.pid) is None
    process.communicate()
    assert process_started(process.pid) is None


def test_the_start_of_a_process_is_the_time_since_the_machine_began() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    started = process_started(process.pid)
    process.communicate(b"\n")
    assert started is not None
    assert before - 0.02 <= started <= after, "hundredths of a second, cut"


def test_what_a_run_starts_with(tmp_path: Path) -> None:
    assert facts(tmp_path).git_commit is None
    assert set(facts(tmp_path).versions) == {"hpo", "python", "torch", "optuna", "ray"}
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-qm", "a"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    commit = facts(tmp_path).git_commit
    assert commit is not None
    assert len(commit) == 40


def test_an_address_keeps_its_password() -> None:
    assert this_process("ray://me:s3cret@head:10001").address == "ray://me:***@head:10001"


# ------------------------------------------------------------------------------------------------ may it be taken?


def test_a_study_that_nobody_holds_may_be_taken_without_a_word(records: StudyRecords, url: str) -> None:
    watch = Watch()
    assert watch.until_free(records) is None
    record_run(url, "s", ended="done")
    state = watch.until_free(records)
    assert state is not None
    assert state.released == SINCE
    record_run(url, "s", pid=dead_pid())
    state = watch.until_free(records)
    assert state is not None
    assert state.released is None
    assert (watch.said, watch.now) == ([], 0.0)


@pytest.mark.parametrize("host", [None, "elsewhere"])
def test_a_silent_holder_is_watched_for_ten_seconds_of_our_clock(
    records: StudyRecords, url: str, host: str | None
) -> None:
    record_run(url, "s", **({} if host is None else {"host": host}))
    watch = Watch()
    state = watch.until_free(records)
    assert state is not None
    assert watch.now == 10.0
    assert watch.said == [
        f"study 's' is held by {state.holder}; watching for 10 s whether it lives",
        "it was silent for 10 s: taken for dead",
    ]


def test_a_holder_whose_beat_grows_is_named(records: StudyRecords, url: str) -> None:
    lease = record_run(url, "s")
    watch = Watch(lambda now: records.renew(lease, now, SINCE) if now == 9.5 else None)
    with pytest.raises(Held) as error:
        watch.until_free(records)
    assert watch.now == 9.5
    assert str(error.value).startswith(f"study 's' is being run by process {os.getpid()} on ")
    assert error.value.hint == "watch it: hpo status s; --takeover takes the study from a living run"


def test_a_holder_that_is_replaced_while_we_watch_is_alive(records: StudyRecords, url: str) -> None:
    record_run(url, "s")
    watch = Watch(lambda now: None if now != 2 else [record_run(url, "s", host="elsewhere")].clear())
    with pytest.raises(Held, match="on elsewhere"):
        watch.until_free(records)


def test_a_holder_that_lets_go_or_dies_while_we_watch_is_not_waited_for(records: StudyRecords, url: str) -> None:
    lease = record_run(url, "s")
    watch = Watch(lambda now: records.release(lease, "done", now, SINCE) if now == 3 else None)
    state = watch.until_free(records)
    assert state is not None
    assert (watch.now, state.released) == (3, SINCE)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record_run(url, "s", pid=process.pid, process_started=process_started(process.pid))
    watch = Watch(lambda now: [process.communicate(b"\n")].clear() if now == 3 else None)
    assert watch.until_free(records) is not None
    assert watch.now == 3


def test_a_takeover_asks_nobody(records: StudyRecords, url: str) -> None:
    record_run(url, "s")
    watch = Watch()
    assert watch.until_free(records, takeover=True) is not None
    assert (watch.said, watch.now) == ([], 0.0)


# ---------------------------------------------------------------------------------------------------- while it lasts


def until(condition: Callable[[], object]) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited 20 s in vain")


def test_a_tenure_beats_keeps_the_seconds_and_ends_with_its_first_reason(
    records: StudyRecords, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "RENEWED_EVERY", 0.05)
    with Tenure(url, "s", record_run(url, "s")) as tenure:
        tenure.heard(12.5)
        until(lambda: records.runs()[-1].seconds == 12.5)
        before = records.lease()
        until(lambda: records.lease() != before)
        tenure.release("time used up")
    state, (run,) = records.lease(), records.runs()
    assert state is not None
    assert state.released is not None
    assert (run.reason, run.seconds) == ("time used up", 12.5)


def test_a_tenure_whose_coordinator_is_not_heard_falls_silent(
    records: StudyRecords, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "RENEWED_EVERY", 0.05)
    monkeypatch.setattr(holding, "PATIENCE", 0.5)
    with Tenure(url, "s", record_run(url, "s")) as tenure:
        time.sleep(1.0)
        state = records.lease()
        time.sleep(0.5)
        assert records.lease() == state
        tenure.heard(1.0)
        until(lambda: records.lease() != state)


def test_a_tenure_under_its_next_number_goes_on(
    records: StudyRecords, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "RENEWED_EVERY", 0.05)
    first = record_run(url, "s")
    with Tenure(url, "s", first) as tenure:
        second = tenure.advance()
        assert (second.fencing, second.run) == (first.fencing + 1, first.run)
        state = records.lease()
        until(lambda: records.lease() != state)
        assert tenure.lost is None
        with pytest.raises(Fenced):
            records.renew(first, 0.0, SINCE)


def test_a_tenure_that_was_taken_over_learns_it_and_writes_nothing_more(
    records: StudyRecords, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "RENEWED_EVERY", 0.05)
    with Tenure(url, "s", record_run(url, "s")) as tenure:
        record_run(url, "s", host="elsewhere", seconds=1.0)
        until(lambda: tenure.lost is not None)
        tenure.heard(99.0)
    old, new = records.runs()
    assert "was taken over by process" in str(tenure.lost)
    assert "on elsewhere" in str(tenure.lost)
    assert old.reason is not None
    assert old.reason.startswith("taken over by process ")
    assert (old.seconds, new.seconds, new.ended) == (4.5, 1.0, None)


def test_what_breaks_out_of_a_tenure_is_why_its_run_ended(records: StudyRecords, url: str) -> None:
    with pytest.raises(ZeroDivisionError), Tenure(url, "s", record_run(url, "s")):
        _ = 1 / 0
    with pytest.raises(Held), Tenure(url, "s", record_run(url, "s")):
        raise Held("study 's' is busy\nand more")
    assert [run.reason for run in records.runs()] == ["ZeroDivisionError", "study 's' is busy"]
