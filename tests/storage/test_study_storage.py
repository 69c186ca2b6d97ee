from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from hpo.errors import NotFound, Refused, UserError
from hpo.storage import StudyStorage, open_storage, resolve
from hpo.storage.batched import BatchedStorage
from hpo.storage.place import read_url
from hpo.testing.storage import plain_storage


def test_looking_makes_no_database(tmp_path: Path) -> None:
    with open_storage(f"sqlite:///{tmp_path}/hpo.db") as storage:
        assert storage.study_names() == []
        assert not storage.exists("a")
        storage.flush()
        with pytest.raises(NotFound, match="'a' does not exist in sqlite:"):
            storage.delete_study("a")
    assert os.listdir(tmp_path) == []


def test_looking_makes_no_tables(postgres_url: str) -> None:
    with open_storage(postgres_url) as storage:
        assert storage.study_names() == []
    engine = sa.create_engine(resolve(postgres_url))
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_looking_leaves_the_journal_mode_of_a_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    with plain_storage(url) as plain:
        optuna.create_study(study_name="theirs", storage=plain)
    before = (tmp_path / "hpo.db").read_bytes()
    with open_storage(url) as storage:
        assert not storage.exists("a")
    assert (tmp_path / "hpo.db").read_bytes() == before


def test_studies_by_name(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"], {"hpo:sweep": '{"space": {}}', "hpo:id": "x"})
    opened.create_study("b", ["maximize", "minimize"])
    with pytest.raises(Refused, match="study 'a' exists already in"):
        opened.create_study("a", ["minimize"])
    assert opened.study_names() == ["a", "b"]
    study = optuna.load_study(study_name="a", storage=opened.optuna)
    assert study.user_attrs == {"hpo:sweep": '{"space": {}}', "hpo:id": "x"}
    study.tell(study.ask(), 1.0)
    with plain_storage(url) as plain:
        theirs = optuna.load_study(study_name="b", storage=plain)
        assert [d.name for d in theirs.directions] == ["MAXIMIZE", "MINIMIZE"]
    with open_storage(url) as second:
        assert second.study_names() == ["a", "b"]
        second.delete_study("a")
        assert second.study_names() == ["b"]


def test_nothing_of_a_deleted_study_is_left(url: str, opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"], {"x": 1})
    study = optuna.load_study(study_name="a", storage=opened.optuna)
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    trial.report(1.0, 1)
    trial.set_user_attr("u", 1)
    opened.optuna.set_trial_system_attr(trial._trial_id, "s", 1)
    study.tell(trial, 1.0)
    opened.delete_study("a")
    engine = sa.create_engine(resolve(url))
    with engine.connect() as connection:
        counts = {
            table: connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar()
            for table in sa.inspect(connection).get_table_names()
            if table not in {"version_info", "alembic_version", "hpo_alembic_version"}
        }
    engine.dispose()
    assert len(counts) == 11 + 8
    assert set(counts.values()) == {0}


def test_a_closed_storage_opens_again(opened: StudyStorage) -> None:
    opened.create_study("a", ["minimize"])
    kept = opened.optuna
    study_id = kept.get_study_id_from_name("a")
    opened.close()
    opened.close()
    with pytest.raises(RuntimeError, match="closed"):
        kept.create_new_trial(study_id)
    assert opened.exists("a")


def test_everything_is_written_when_the_storage_closes(url: str) -> None:
    with open_storage(url) as storage:
        storage.create_study("a", ["minimize"])
        study = optuna.load_study(study_name="a", storage=storage.optuna)
        trial = study.ask()
        for step in range(100):
            trial.report(float(step), step)
    with plain_storage(url) as plain:
        assert optuna.load_study(study_name="a", storage=plain).trials[0].intermediate_values[99] == 99.0


def _write_schema(url: str, revision: str | None) -> None:
    engine = sa.create_engine(resolve(url))
    with engine.begin() as connection:
        if revision is None:
            connection.execute(sa.text("DROP TABLE alembic_version"))
        else:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = :v"), {"v": revision})
    engine.dispose()


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("v3.0.0.d", r"made by an older Optuna \(schema v3.0.0.d\); run `optuna storage upgrade"),
        (None, "made by an older Optuna"),
        ("v99.0.0.a", r"made by a newer Optuna \(schema v99.0.0.a\)"),
    ],
)
def test_a_schema_that_this_optuna_cannot_use(new_url: str, revision: str | None, said: str) -> None:
    with open_storage(new_url) as storage:
        storage.create_study("a", ["minimize"])
    _write_schema(new_url, revision)
    with open_storage(new_url) as storage, pytest.raises(UserError, match=said):
        storage.create_study("b", ["minimize"])


def test_a_schema_that_hpo_does_not_know_is_left_to_optuna(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with StudyStorage(read_url(url), known=frozenset({"v0.0.0"})) as storage:
        storage.create_study("a", ["maximize"], {"x": 1})
        assert not isinstance(storage.optuna, BatchedStorage)
        assert "schema v3.2.0.a, which hpo does not know (v0.0.0): Optuna itself writes" in caplog.text
        study = optuna.load_study(study_name="a", storage=storage.optuna)
        with storage.batch():
            study.tell(study.ask(), 1.0)
        storage.flush()
        assert storage.study_names() == ["a"]
        assert study.user_attrs == {"x": 1}
        with pytest.raises(Refused):
            storage.create_study("a", ["maximize"])


def _race(url: str, barrier: multiprocessing.synchronize.Barrier, results: multiprocessing.Queue[str]) -> None:
    barrier.wait()
    with open_storage(url) as storage:
        try:
            storage.create_study("a", ["minimize"])
            results.put("made")
        except Refused:
            results.put("refused")
        except UserError as error:
            results.put(str(error))


def test_processes_that_race_for_a_new_database_make_one_study(new_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_race, args=(new_url, barrier, results)) for _ in range(2)]
    for racer in racers:
        racer.start()
    outcomes = sorted(results.get(timeout=60) for _ in racers)
    for racer in racers:
        racer.join()
    assert outcomes == ["made", "refused"]
