"""What is reported besides the objective, and the events of runs: written and kept like curves."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from hpo.storage import Holder, RunFacts, StudyRecords, StudyStorage, open_storage, resolve
from hpo.storage.batched import BatchedStorage
from hpo.storage.place import read_url
from hpo.testing.storage import assert_same_trials, plain_storage

X = {"x": optuna.distributions.FloatDistribution(0, 1)}
NOW = datetime(2026, 3, 1, tzinfo=UTC)
ADA = Holder("ada", 1, 2.5, NOW)


def _study(storage: optuna.storages.BaseStorage) -> optuna.Study:
    return optuna.load_study(study_name="a", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))


@pytest.fixture
def records(opened: StudyStorage) -> StudyRecords:
    opened.create_study("a", ["minimize"])
    return opened.records("a")


def test_what_was_reported_is_read_back(opened: StudyStorage, records: StudyRecords, url: str) -> None:
    study = _study(opened.optuna)
    first, second = study.ask(X), study.ask(X)
    curves = {
        "loss": {1: 0.1 + 0.2, 2: 1e-300, -3: -1.5e300, 2_000_000: 0.0},
        "Loss": {1: 1.0},
        "\u00fc'\"%:": {1: math.inf, 2: -math.inf},
        "n" * 512: {1: 7},
    }
    for name, curve in curves.items():
        for step, value in curve.items():
            opened.report_metrics(first._trial_id, step, {name: value})
    opened.report_metrics(second._trial_id, 1, {"loss": math.nan, "accuracy": True})
    opened.report_metrics(second._trial_id, 2, {})
    study.tell(first, 1.0)
    opened.flush()
    found = records.metrics()
    assert found[0] == curves
    assert math.isnan(found[1]["loss"].pop(1))
    assert found[1] == {"loss": {}, "accuracy": {1: 1.0}}
    assert list(records.metrics([1, 99])) == [1]
    assert list(records.metrics([0])) == [0]
    assert records.metrics([]) == {}
    with plain_storage(url) as plain:
        assert_same_trials(study.trials, _study(plain).trials)


def test_a_step_reported_again_is_overwritten(opened: StudyStorage, records: StudyRecords) -> None:
    trial = _study(opened.optuna).ask(X)
    for value in (1.0, math.nan, 3.0):
        opened.report_metrics(trial._trial_id, 1, {"loss": value})
        opened.flush()
    opened.report_metrics(trial._trial_id, 1, {"loss": 4.0})
    opened.report_metrics(trial._trial_id, 1, {"loss": 5.0, "accuracy": 0.5})
    opened.flush()
    assert records.metrics() == {0: {"loss": {1: 5.0}, "accuracy": {1: 0.5}}}


def test_what_could_not_be_kept_changes_nothing(opened: StudyStorage, records: StudyRecords) -> None:
    trial = _study(opened.optuna).ask(X)
    for step, metrics in (
        (2**40, {"loss": 1.0}),
        (1, {"loss": 1.0, "n" * 513: 1.0}),
        (1, {"loss": 1.0, "a\0": 1.0}),
    ):
        with pytest.raises(ValueError, match=r"32 bits|cannot be a key"):
            opened.report_metrics(trial._trial_id, step, metrics)
    opened.flush()
    assert records.metrics() == {}


def test_metrics_come_by_themselves_and_never_after_the_end(opened: StudyStorage, records: StudyRecords) -> None:
    study = _study(opened.optuna)
    trial = study.ask(X)
    opened.report_metrics(trial._trial_id, 1, {"loss": 1.0})
    gives_up = time.monotonic() + 10
    while records.metrics() != {0: {"loss": {1: 1.0}}}:
        assert time.monotonic() < gives_up
        time.sleep(0.02)
    with opened.batch():
        opened.report_metrics(trial._trial_id, 2, {"loss": 2.0})
        study.tell(trial, 1.0)
    assert records.metrics() == {0: {"loss": {1: 1.0, 2: 2.0}}}
    with pytest.raises(UpdateFinishedTrialError):
        opened.report_metrics(trial._trial_id, 3, {"loss": 3.0})


def test_a_trial_that_somebody_else_finished_takes_no_more(
    opened: StudyStorage, records: StudyRecords, url: str
) -> None:
    study = _study(opened.optuna)
    theirs, ours = study.ask(X), study.ask(X)
    opened.flush()
    with plain_storage(url) as plain:
        plain.set_trial_state_values(theirs._trial_id, TrialState.FAIL)
    for trial in (theirs, ours):
        opened.report_metrics(trial._trial_id, 1, {"loss": 1.0})
    opened.flush()
    assert records.metrics() == {1: {"loss": {1: 1.0}}}
    with pytest.raises(UpdateFinishedTrialError):
        opened.report_metrics(theirs._trial_id, 2, {"loss": 1.0})


def test_events_of_the_run_that_holds_the_lease(opened: StudyStorage, records: StudyRecords, url: str) -> None:
    with pytest.raises(ValueError, match="an event needs a run"):
        opened.log_event("launched", "by nobody")
    lease = records.take(ADA, None, RunFacts(), NOW)
    with open_storage(url, lease=lease) as storage:
        before = datetime.now(UTC)
        storage.log_event("requeued", "its node died", trial=17)
        storage.log_event("requeued", "its node died", trial=17)
        records.log_event("resumed", "meanwhile", NOW, run=lease.run)
        storage.flush()
        events = records.events()
    assert [(e.run, e.kind, e.trial) for e in events if e.kind == "requeued"] == [(lease.run, "requeued", 17)] * 2
    assert sorted(event.kind for event in events) == ["requeued", "requeued", "resumed"]
    assert all(before <= e.moment <= datetime.now(UTC) for e in events if e.kind == "requeued")


def test_a_study_that_a_plain_optuna_made(new_url: str) -> None:
    """Gets our tables and its UUID with the first metrics."""
    with plain_storage(resolve(new_url)) as plain:
        study = optuna.create_study(study_name="a", storage=plain)
        trial_id = study.ask(X)._trial_id
    with open_storage(new_url) as storage:
        assert storage.records("a").metrics() == {}
        storage.report_metrics(trial_id, 1, {"loss": 1.0})
        storage.flush()
        assert storage.records("a").metrics() == {0: {"loss": {1: 1.0}}}


def test_where_optuna_itself_writes(url: str) -> None:
    """In a database whose schema hpo does not know."""
    with StudyStorage(read_url(url), known=frozenset({"v0.0.0"})) as storage:
        storage.create_study("a", ["minimize"])
        study = _study(storage.optuna)
        trial = study.ask(X)
        storage.report_metrics(trial._trial_id, 1, {"loss": 1.0, "Loss": math.inf})
        storage.report_metrics(trial._trial_id, 1, {"loss": 2.0})
        storage.report_metrics(trial._trial_id, 2, {})
        study.tell(trial, 1.0)
        records = storage.records("a")
        assert records.metrics() == {0: {"loss": {1: 2.0}, "Loss": {1: math.inf}}}
        with pytest.raises(UpdateFinishedTrialError):
            storage.report_metrics(trial._trial_id, 3, {"loss": 1.0})
        with pytest.raises(KeyError):
            storage.report_metrics(10**6, 3, {"loss": 1.0})
        storage.delete_study("a")
    with open_storage(url) as storage:
        storage.create_study("a", ["minimize"])
        assert storage.records("a").metrics() == {}


# -- a server that forgets, or whose answer is lost


def _all_of(url: str, *statements: str) -> None:
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


CUT_OFF = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_what_a_server_forgot_is_written_again_once(postgres_url: str) -> None:
    """Rows of commits that did not wait for the disk, taken away as the death of a server takes them."""
    with open_storage(postgres_url) as storage:
        storage.create_study("a", ["minimize"])
        lease = storage.records("a").take(ADA, None, RunFacts(), NOW)
    with open_storage(postgres_url, lease=lease) as storage:
        records = storage.records("a")
        trial = _study(storage.optuna).ask(X)
        for text in ("kept", "forgotten"):
            storage.log_event("requeued", text)
            storage.report_metrics(trial._trial_id, len(text), {"loss": 1.0})
            storage.flush()
        _all_of(
            postgres_url,
            "DELETE FROM hpo_events WHERE text = 'forgotten'",
            "DELETE FROM hpo_metrics WHERE step = 9",
            "SELECT setval('hpo_events_id_seq', 1)",
            CUT_OFF,
        )
        storage.log_event("requeued", "new")
        storage.flush()
        assert [event.text for event in records.events()] == ["kept", "forgotten", "new"]
        assert records.metrics() == {0: {"loss": {4: 1.0, 9: 1.0}}}


def test_a_commit_that_was_not_answered_writes_once(postgres_url: str) -> None:
    with open_storage(postgres_url) as storage:
        storage.create_study("a", ["minimize"])
        lease = storage.records("a").take(ADA, None, RunFacts(), NOW)
    with open_storage(postgres_url, lease=lease) as storage:
        trial = _study(storage.optuna).ask(X)
        storage.log_event("requeued", "once")
        storage.report_metrics(trial._trial_id, 1, {"loss": 1.0})
        kept = storage.optuna
        assert isinstance(kept, BatchedStorage)

        def commit_and_die(connection: sa.Connection, retried: bool) -> None:
            if not retried:
                connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

        with kept._db:
            kept._commit(commit_and_die)
        assert [event.text for event in storage.records("a").events()] == ["once"]
        assert storage.records("a").metrics() == {0: {"loss": {1: 1.0}}}


def test_records_outlive_a_connection_that_is_cut_off(postgres_url: str) -> None:
    with open_storage(postgres_url) as storage:
        storage.create_study("a", ["minimize"])
        records = storage.records("a")
        lease = records.take(ADA, None, RunFacts(), NOW)
        _all_of(postgres_url, CUT_OFF)
        records.renew(lease, 2.0, NOW)
        _all_of(postgres_url, CUT_OFF)
        records.log_event("resumed", "the server is back", NOW, run=lease.run)
        assert records.runs()[0].seconds == 2.0
        assert [event.kind for event in records.events()] == ["resumed"]
