from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.storage import StudyStorage, open_storage, resolve
from hpo.storage.batched import BatchedStorage
from hpo.testing.mariadb import MariaDBServer
from hpo.testing.storage import PostgresServer

ON_MYSQL = {
    # whole files: Optuna's conformance tests and ours, outages, commits without an answer
    "test_contract.py",
    "test_faults.py",
    "test_lost_answers.py",
    # where its locks, its texts or what its statements see differ from PostgreSQL's
    "test_a_driver_that_stands_still_in_a_transaction_loses_its_locks",
    "test_a_fenced_storage_writes_nothing_more",
    "test_a_schema_that_hpo_does_not_know_is_left_to_optuna",
    "test_a_step_reported_again_is_overwritten",
    "test_a_study_deleted_by_others_is_gone",
    "test_a_trial_finished_by_others_takes_no_more_reports",
    "test_an_enqueued_trial_goes_to_one_of_two",
    "test_check_names_what_differs",
    "test_events_of_the_run_that_holds_the_lease",
    "test_from_nothing_to_the_newest",
    "test_moments_have_a_zone_and_keep_it_apart",
    "test_nothing_of_a_deleted_study_is_left",
    "test_of_racing_threads_one_takes",
    "test_optunas_own_storage_is_fenced_too",
    "test_processes_that_race_for_a_new_database_make_one_study",
    "test_threads_share_a_storage",
    "test_two_storages_on_different_studies",
    "test_what_a_database_cannot_hold_is_written_readably",
    "test_what_one_study_measured_others_find",
    "test_what_was_reported_is_read_back",
}
"""Of the tests that run on every kind of database, those that run on MariaDB too without `--slow`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All others have the mark `slow` there."""
    for item in items:
        if not isinstance(item, pytest.Function) or item.path.parent != Path(__file__).parent:
            continue
        given = item.callspec.params if hasattr(item, "callspec") else {}
        everywhere = {item.path.name, item.originalname} & ON_MYSQL
        if "mysql" in (given.get("url"), given.get("new_url")) and not everywhere:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def sqlite_with_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tables") / "hpo.db"
    with open_storage(f"sqlite:///{file}") as opened:
        assert opened.optuna.get_all_studies() == []
    return file


@pytest.fixture(scope="session")
def postgres_with_tables(postgres_server: PostgresServer) -> str:
    url = postgres_server.database()
    with open_storage(url) as opened:
        assert opened.optuna.get_all_studies() == []
    return url


@pytest.fixture(scope="session")
def mariadb_with_tables(mariadb_server: MariaDBServer) -> str:
    url = mariadb_server.database()
    with open_storage(url) as opened:
        assert opened.optuna.get_all_studies() == []
    return url


def _empty_postgres(connection: sa.Connection) -> None:
    every = "studies, hpo_studies, hpo_metrics, hpo_events, hpo_pack_speeds"
    connection.exec_driver_sql(f"TRUNCATE {every} RESTART IDENTITY CASCADE")


def _empty_mariadb(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SET foreign_key_checks = 0")
    for table in sa.inspect(connection).get_table_names():
        if table not in {"version_info", "alembic_version", "hpo_alembic_version"}:
            connection.exec_driver_sql(f"DELETE FROM {table}")


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind with Optuna's tables and ours, which are slow to make, and no study."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_with_tables"), tmp_path / "hpo.db")
        yield f"sqlite:///{tmp_path}/hpo.db"
        return
    fixture, empty = {
        "postgresql": ("postgres_with_tables", _empty_postgres),
        "mysql": ("mariadb_with_tables", _empty_mariadb),
    }[request.param]
    url: str = request.getfixturevalue(fixture)
    yield url
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        empty(connection)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind without tables, which the test may spoil."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new.db"
    found: str = request.getfixturevalue({"postgresql": "postgres_url", "mysql": "mariadb_url"}[request.param])
    return found


@pytest.fixture
def opened(url: str) -> Iterator[StudyStorage]:
    with open_storage(url) as opened:
        yield opened


@pytest.fixture
def storage(opened: StudyStorage) -> BatchedStorage:
    assert isinstance(opened.optuna, BatchedStorage)
    return opened.optuna
