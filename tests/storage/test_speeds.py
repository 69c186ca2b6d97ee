"""What packs gained, remembered for every study of a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.storage import Fenced, Holder, PackSpeed, RunFacts, StudyStorage, open_storage, resolve
from hpo.storage.copying import copy_studies

NOW = datetime.now(UTC)
SPEED = PackSpeed("0f0e, Xeon, torch 2.11, threads: 1", 1234.5, 0.1 + 0.2, 64, None, NOW)
ADA = Holder("ada", 1, 2.5, NOW)


@pytest.fixture
def study(opened: StudyStorage) -> StudyStorage:
    opened.create_study("a", ["minimize"])
    return opened


def test_what_one_study_measured_others_find(study: StudyStorage, url: str) -> None:
    assert study.pack_speed(SPEED.key) is None
    study.keep_pack_speed(SPEED)
    with open_storage(url) as other:
        other.create_study("b", ["minimize"])
        other.delete_study("a")
        assert other.pack_speed(SPEED.key) == SPEED
        assert other.pack_speed(SPEED.key.upper()) is None


def test_the_last_word_counts(study: StudyStorage) -> None:
    for most in (None, 32, 16):
        last = replace(SPEED, most=most, solo=2.0)
        study.keep_pack_speed(last)
    other = replace(SPEED, key="another")
    study.keep_pack_speed(other)
    assert study.pack_speed(SPEED.key) == last
    assert study.pack_speed("another") == other


def test_what_is_old_or_by_another_hpo_is_measured_anew(study: StudyStorage, url: str) -> None:
    study.keep_pack_speed(replace(SPEED, measured=NOW - timedelta(days=91)))
    assert study.pack_speed(SPEED.key) is None
    recent = replace(SPEED, measured=NOW - timedelta(days=89))
    study.keep_pack_speed(recent)
    assert study.pack_speed(SPEED.key) == recent
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE hpo_pack_speeds SET version = '0.0'")
    engine.dispose()
    assert study.pack_speed(SPEED.key) is None


def test_a_run_that_was_taken_over_keeps_nothing(study: StudyStorage, url: str) -> None:
    records = study.records("a")
    lease = records.take(ADA, None, RunFacts(), NOW)
    with open_storage(url, lease) as storage:
        storage.keep_pack_speed(SPEED)
        records.take(replace(ADA, host="bob"), records.lease(), RunFacts(), NOW, alive=True)
        with pytest.raises(Fenced, match="was taken over by process 1 on bob"):
            storage.keep_pack_speed(replace(SPEED, key="too late"))
        assert storage.pack_speed("too late") is None
        assert storage.pack_speed(SPEED.key) == SPEED


def test_a_key_that_no_database_holds_is_refused(study: StudyStorage) -> None:
    with pytest.raises(ValueError, match="cannot be a key"):
        study.keep_pack_speed(replace(SPEED, key="k" * 513))
    study.keep_pack_speed(replace(SPEED, key="k" * 512))
    assert study.pack_speed("k" * 512) is not None


def test_asking_makes_nothing(tmp_path: Path) -> None:
    with open_storage(f"sqlite:///{tmp_path}/new.db") as storage:
        assert storage.pack_speed(SPEED.key) is None
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_lost_the_table_goes_on_without(study: StudyStorage, url: str) -> None:
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hpo_pack_speeds RENAME TO elsewhere")
    try:
        study.keep_pack_speed(SPEED)
        assert study.pack_speed(SPEED.key) is None
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO hpo_pack_speeds")
        engine.dispose()


def test_a_copied_study_leaves_them_behind(study: StudyStorage, url: str, tmp_path: Path) -> None:
    study.records("a").log_event("launched", "", NOW)
    study.keep_pack_speed(SPEED)
    target = f"sqlite:///{tmp_path}/copy.db"
    copy_studies(url, target, "a")
    with open_storage(target) as copied:
        assert copied.pack_speed(SPEED.key) is None
        assert len(copied.records("a").events()) == 1
