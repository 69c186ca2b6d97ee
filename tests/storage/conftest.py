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
    every = "studies, hpo_studies, hpo_metrics, hpo_events"
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
