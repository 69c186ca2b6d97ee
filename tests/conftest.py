"""Fixtures that more than one room's tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.testing.storage import PostgresServer
from tests.launching import Launcher


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the session; a test that stops a server starts one of its own."""
    with PostgresServer(fsync=False) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    url = postgres_server.database()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """Runs `hpo` in an empty folder with a SQLite database there."""
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.close()
