"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.testing.mariadb import MariaDBServer
from hpo.testing.storage import PostgresServer
from tests.launching import Launcher
from tests.readme import RUNS, run_block

DIGITS = """
name: digits
task: digits
space:
  optimizer.lr: {low: 1e-3, high: 1.0, log: true}
  regularization.dropout: {low: 0.0, high: 0.6}
  schedule.name: {choices: {constant: {}, cosine: {schedule.warmup_fraction: {low: 0.0, high: 0.1}}}}
objective: {metric: val_accuracy, direction: maximize}
budget: {trials: 12}
pruner: {name: hyperband, min_resource: 1, reduction_factor: 3}
concurrency: 2
pack: off
base: {epochs: 5, batch_size: 32, model: {name: mlp, width: 32}}
"""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from, or left in, the cache of whoever runs the tests; subprocesses inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


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


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """One MariaDB for the session; a test that stops a server starts one of its own."""
    with MariaDBServer() as server:
        yield server


@pytest.fixture
def mariadb_url(mariadb_server: MariaDBServer) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    url = mariadb_server.database()
    yield url
    mariadb_server.drop(url)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """Runs `hpo` in an empty folder with a SQLite database there."""
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Launcher, subprocess.CompletedProcess[str]]]:
    """A finished study of digits, for reading only, and what its launch printed."""
    launcher = Launcher(tmp_path_factory.mktemp("digits"))
    done = launcher.run("launch", str(launcher.write("digits.yaml", DIGITS)))
    assert done.returncode == 0, done.stderr
    yield launcher, done
    launcher.close()


@pytest.fixture(scope="session")
def readme(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, subprocess.CompletedProcess[str]]]:
    """The folder in which the README's examples were executed, for reading only, and how each ended."""
    folder = tmp_path_factory.mktemp("readme")
    return folder, {name: run_block(name, folder) for name in RUNS}
