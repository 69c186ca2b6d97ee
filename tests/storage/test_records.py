"""What is kept of a study besides Optuna's own fields, in every kind of database."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from hpo.errors import NotFound
from hpo.search import attributes
from hpo.storage import Holder, RunFacts, StudyRecords, StudyStorage, open_storage, resolve
from hpo.storage.own.base import Base
from hpo.storage.own.studies import IDENTITY
from hpo.testing.storage import plain_storage

NOW = datetime(2026, 3, 1, 12, 30, 59, 123456, UTC)
ADA = Holder("ada", 4711, 1772366999.015625, NOW, "ray://ada:10001")
FACTS = RunFacts({"hpo": "0.1.0", "torch": "2.11"}, "f" * 40)


@pytest.fixture
def records(opened: StudyStorage) -> StudyRecords:
    opened.create_study("a", ["minimize"], {IDENTITY: "0f0e"})
    return opened.records("a")


def _counts(url: str) -> dict[str, int]:
    """Rows of each own table."""
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = {
            name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for name, table in Base.metadata.tables.items()
        }
    engine.dispose()
    return found


def _tables(file: Path) -> set[str]:
    with sqlite3.connect(file) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return found


def test_the_attribute_is_the_one_that_search_writes() -> None:
    assert attributes.IDENTITY == IDENTITY


def test_nothing_was_written(records: StudyRecords) -> None:
    assert records.lease() is None
    assert (records.sweeps(), records.runs(), records.exports(), records.events()) == ([], [], [], [])
    assert records.metrics() == {}


def test_an_unknown_study(opened: StudyStorage, records: StudyRecords) -> None:
    with pytest.raises(NotFound, match="study 'b' does not exist in "):
        opened.records("b")
    opened.delete_study("a")
    with pytest.raises(NotFound, match="study 'a' does not exist in "):
        records.runs()


def test_a_spec_is_kept_once(records: StudyRecords) -> None:
    spec = '{"name": "\u00fc", "space": "' + "x" * 100_000 + '"}'
    first = records.add_sweep(spec, "ada", NOW)
    assert records.add_sweep(spec, "bob", NOW + timedelta(days=1)) == first
    second = records.add_sweep("{}", "bob", NOW + timedelta(days=1))
    assert records.sweeps() == [first, second]
    assert (first.spec, first.created, first.created_by) == (spec, NOW, "ada")
    assert records.add_sweep(spec, "ada", NOW).id not in {first.id, second.id}  # launched with the old one again


def test_a_run_from_its_start_to_its_end(records: StudyRecords) -> None:
    sweep = records.add_sweep("{}", "ada", NOW)
    lease = records.take(ADA, None, RunFacts(FACTS.versions, FACTS.git_commit, sweep.id), NOW)
    (run,) = records.runs()
    assert (run.id, run.holder, run.facts.sweep, run.facts.versions) == (lease.run, ADA, sweep.id, FACTS.versions)
    assert (run.heartbeat, run.seconds, run.ended, run.reason) == (NOW, 0.0, None, None)
    later = NOW + timedelta(microseconds=1)
    records.renew(lease, 0.1 + 0.2, later)
    (run,) = records.runs()
    assert (run.heartbeat, run.seconds) == (later, 0.1 + 0.2)
    records.release(lease, "60 of 60 done", 4.5, later)
    (run,) = records.runs()
    assert (run.ended, run.reason, run.seconds, run.facts.git_commit) == (later, "60 of 60 done", 4.5, "f" * 40)


def test_exports_and_events_in_order(records: StudyRecords) -> None:
    records.add_export(3, "/tmp/best.yaml", "sha256:ab", "ada", NOW)
    records.add_export(5, "/tmp/\u00fc.yaml", "sha256:cd", "ada", NOW)
    assert [(e.trial, e.path, e.digest) for e in records.exports()] == [
        (3, "/tmp/best.yaml", "sha256:ab"),
        (5, "/tmp/\u00fc.yaml", "sha256:cd"),
    ]
    records.log_event("launched", "by hand", NOW)
    records.log_event("requeued", "its node died", NOW - timedelta(hours=1), trial=17)  # a clock that jumped back
    first, second = records.events()
    assert (first.kind, first.trial, first.run, first.moment) == ("launched", None, None, NOW)
    assert (second.text, second.trial) == ("its node died", 17)
    assert records.events(after=first.id) == [second]


def test_moments_have_a_zone_and_keep_it_apart(records: StudyRecords) -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    records.log_event("launched", "", tokyo)
    assert records.events()[0].moment == NOW
    with pytest.raises(Exception, match="has no time zone"):
        records.log_event("launched", "", datetime(2026, 3, 1))
    assert len(records.events()) == 1


def test_what_a_database_cannot_hold_is_written_readably(records: StudyRecords) -> None:
    records.log_event("k" * 100, "a\0b \udcff postgresql://ada:hunter2@host/db?password=hunter2", NOW)
    (event,) = records.events()
    assert event.kind == "k" * 64
    assert event.text == "a\\0b \\udcff postgresql://ada:***@host/db?password=***"


def test_studies_share_a_database_and_nothing_else(opened: StudyStorage, records: StudyRecords, url: str) -> None:
    opened.create_study("A", ["minimize"], {IDENTITY: "0f0E"})
    other = opened.records("A")
    for each in (records, other):
        each.log_event("launched", each.name, NOW)
        each.add_sweep("{}", "ada", NOW)
        each.take(ADA, None, FACTS, NOW)
    opened.delete_study("a")
    assert [event.text for event in other.events()] == ["A"]
    assert _counts(url) == {
        **dict.fromkeys(_counts(url), 0),
        **dict.fromkeys(("hpo_studies", "hpo_sweeps", "hpo_runs", "hpo_leases", "hpo_events"), 1),
    }


def test_a_study_with_the_id_of_a_deleted_one_inherits_nothing(opened: StudyStorage, url: str) -> None:
    """SQLite gives the row id of a deleted study away again; a plain Optuna leaves our rows behind."""
    ids = []
    for _ in range(2):
        opened.create_study("a", ["minimize"])
        assert opened.records("a").events() == []
        opened.records("a").log_event("launched", "", NOW)
        with plain_storage(url) as plain:
            ids.append(plain.get_study_id_from_name("a"))
            plain.delete_study(ids[-1])
        opened.close()
    if url.startswith("sqlite"):
        assert ids[0] == ids[1]
    opened.create_study("b", ["minimize"])
    opened.records("b").log_event("launched", "", NOW)
    # rows of studies that are gone go when the next one is registered
    assert {name: n for name, n in _counts(url).items() if n} == {"hpo_studies": 1, "hpo_events": 1}


def test_a_copied_study_has_records_of_its_own(opened: StudyStorage, records: StudyRecords) -> None:
    """Optuna copies all attributes, the UUID among them."""
    records.log_event("launched", "the first", NOW)
    optuna.copy_study(from_study_name="a", to_study_name="b", from_storage=opened.optuna, to_storage=opened.optuna)
    copied = opened.records("b")
    assert copied.events() == []
    copied.log_event("launched", "the copy", NOW)
    assert [event.text for event in records.events()] == ["the first"]
    assert [event.text for event in copied.events()] == ["the copy"]
    opened.refresh()
    uuids = [study.user_attrs[IDENTITY] for study in opened.optuna.get_all_studies()]
    assert uuids[0] == "0f0e"
    assert len(set(uuids)) == 2


def test_reading_makes_no_tables_and_the_first_write_does(tmp_path: Path) -> None:
    """In a database made by a plain Optuna."""
    file = tmp_path / "plain.db"
    url = f"sqlite:///{file}"
    with plain_storage(url) as plain:
        optuna.create_study(storage=plain, study_name="a")
    before = _tables(file), file.read_bytes()
    with open_storage(url) as storage:
        records = storage.records("a")
        assert (records.lease(), records.runs(), records.events(), records.metrics()) == (None, [], [], {})
        assert (_tables(file), file.read_bytes()) == before
        records.log_event("launched", "", NOW)
        assert _tables(file) - before[0] >= set(Base.metadata.tables)
        uuid = storage.optuna.get_all_studies()[0].user_attrs[IDENTITY]
    assert len(uuid) == 36


def test_a_new_database_has_both_schemas_at_once(tmp_path: Path) -> None:
    with open_storage(f"sqlite:///{tmp_path}/new.db") as storage:
        assert storage.optuna.get_all_studies() == []
    assert _tables(tmp_path / "new.db") >= {"studies", "alembic_version", "hpo_alembic_version", *Base.metadata.tables}
