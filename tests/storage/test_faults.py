"""A database that is locked, stopped, killed, or refuses."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.errors import UserError
from hpo.storage import StudyStorage, open_storage, resolve
from hpo.storage.batched import BatchedStorage
from hpo.storage.place import read_url
from hpo.storage.refusals import StorageLost
from hpo.storage.tables import TRIALS
from hpo.testing.mariadb import MariaDBServer
from hpo.testing.storage import PostgresServer, assert_same_trials, plain_storage

X = {"x": optuna.distributions.FloatDistribution(0, 1)}
LOCKER = """
import sqlite3, sys
locking = sqlite3.connect(sys.argv[1], isolation_level=None)
locking.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
locking.execute("COMMIT")
"""


@pytest.fixture(scope="module", params=["postgresql", "mysql"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer | MariaDBServer]:
    """A server that the test may stop."""
    with PostgresServer(fsync=False) if request.param == "postgresql" else MariaDBServer() as server:
        yield server


@pytest.fixture
def own_url(server: PostgresServer | MariaDBServer) -> Iterator[str]:
    """A database of it."""
    url = server.database()
    yield url
    server.drop(url)


def _study(storage: optuna.storages.BaseStorage) -> optuna.Study:
    return optuna.load_study(study_name="a", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))


class Sweep:
    """Works on the study `a` until told to stop, in a thread, while another one keeps looking for news.

    told: the numbers of the trials whose end was acknowledged.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.told: list[int] = []
        self.looks = 0
        self.errors: list[BaseException] = []
        self._done = threading.Event()
        with open_storage(url) as storage:
            storage.create_study("a", ["minimize"])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with open_storage(self.url) as storage:
                study = _study(storage.optuna)
                looker = threading.Thread(target=self._look, args=(storage, study))
                looker.start()
                while not self._done.is_set() and not self.errors:
                    with storage.batch():
                        trial = study.ask(X)
                    for step in range(10):
                        trial.report(float(step), step)
                    study.tell(trial, trial.params["x"])
                    self.told.append(trial.number)
                    time.sleep(0.005)
                self._done.set()
                looker.join()
                memory = study.trials
            with plain_storage(resolve(self.url)) as plain:
                assert_same_trials(memory, _study(plain).trials)
        except BaseException as error:
            self._done.set()
            self.errors.append(error)

    def _look(self, storage: StudyStorage, study: optuna.Study) -> None:
        """Whatever the database does, memory answers, and the next look may succeed."""
        try:
            while not self._done.wait(0.05):
                assert study.trials[:1] == study.trials[:1]
                try:
                    storage.refresh()
                    self.looks += 1
                except UserError as error:
                    if "does not answer" not in str(error):
                        raise
        except BaseException as error:
            self.errors.append(error)

    def goes_on(self) -> None:
        """Return when it tells and looks again."""
        told, looks, gives_up = len(self.told), self.looks, time.monotonic() + 60
        while (len(self.told) <= told + 2 or self.looks <= looks + 1) and not self.errors:
            assert time.monotonic() < gives_up
            time.sleep(0.02)

    def check(self) -> None:
        """Stop; all that was told is there, whole, and nothing else."""
        self._done.set()
        self._thread.join()
        assert self.errors == []
        with plain_storage(resolve(self.url)) as plain:
            trials = _study(plain).trials
        assert [t.number for t in trials] == list(range(len(trials))) == self.told
        assert all(len(t.intermediate_values) == 10 and t.state == TrialState.COMPLETE for t in trials)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Another process holds SQLite's one lock for writing."""
    command = [sys.executable, "-c", LOCKER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"locked\n"
        yield
        locker.communicate(b"\n")
    assert locker.returncode == 0


# 40 s is longer than SQLite waits by itself
@pytest.mark.parametrize(
    "seconds", [1.5, pytest.param(20, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.slow)]
)
def test_sqlite_locked_by_another_process(tmp_path: Path, seconds: float) -> None:
    sweep = Sweep(f"sqlite:///{tmp_path}/hpo.db")
    sweep.goes_on()
    with _locked(tmp_path / "hpo.db"):
        before = len(sweep.told)
        time.sleep(seconds)
        assert len(sweep.told) <= before + 1
    sweep.goes_on()
    sweep.check()


@pytest.mark.parametrize("seconds", [1.0, pytest.param(10.0, marks=pytest.mark.slow)])
def test_a_server_stopped_and_started(server: PostgresServer | MariaDBServer, own_url: str, seconds: float) -> None:
    sweep = Sweep(own_url)
    sweep.goes_on()
    server.stop()
    before = len(sweep.told)
    time.sleep(seconds)
    assert len(sweep.told) <= before + 1
    server.start()
    sweep.goes_on()
    sweep.check()


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_a_server_killed_in_mid_sweep(server: PostgresServer | MariaDBServer, own_url: str, kills: int) -> None:
    sweep = Sweep(own_url)
    for _ in range(kills):
        sweep.goes_on()
        server.kill()
        server.start()
    sweep.goes_on()
    sweep.check()


def test_a_database_that_stays_away_ends_the_storage(server: PostgresServer | MariaDBServer, own_url: str) -> None:
    with open_storage(own_url) as opened:
        opened.create_study("a", ["minimize"])
    storage = BatchedStorage(read_url(own_url), patience=0.5)
    study = _study(storage)
    study.tell(study.ask(X), 0.5)
    trial = study.ask(X)
    server.stop()
    try:
        with pytest.raises(StorageLost, match=r"storage: .*://.* does not take what is written") as caught:
            study.tell(trial, 1.0)
        assert caught.value.exit_code == 1
        for write in (lambda: trial.report(1.0, 1), study.ask, storage.flush, storage.close):
            with pytest.raises(StorageLost):
                write()
        assert study.trials[0].value == 0.5  # memory still answers
    finally:
        server.start()
    with open_storage(own_url) as opened:
        trials = _study(opened.optuna).trials
    assert [t.state.name for t in trials] == ["COMPLETE", "RUNNING"]


def test_a_write_that_the_database_refuses_is_not_tried_for_minutes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    with open_storage(url) as opened:
        opened.create_study("a", ["minimize"])
    storage = BatchedStorage(read_url(url))
    study = _study(storage)
    with sqlite3.connect(tmp_path / "hpo.db") as breaking:
        breaking.execute("ALTER TABLE trials RENAME TO elsewhere")
    breaking.close()
    with pytest.raises(StorageLost, match="no such table: trials"):
        study.ask()
    with pytest.raises(StorageLost):
        study.set_user_attr("note", 1)
    with pytest.raises(StorageLost):
        storage.close()


def test_durable_commits_wait_for_the_disk(url: str) -> None:
    """What the setting is inside the writer's transactions, as the database itself tells it."""
    from hpo.storage.engine import transaction, writing_engine

    engine = writing_engine(read_url(url))
    query, expected = {
        "sqlite": ("PRAGMA synchronous", ["1", "2", "1"]),
        "postgresql": ("SHOW synchronous_commit", ["off", "on", "off"]),
        "mysql+pymysql": ("SELECT @@innodb_flush_log_at_trx_commit", ["2", "2", "2"]),  # the server's own, untouched
    }[url.split(":")[0]]
    found = []
    for durable in (False, True, False):
        with transaction(engine, durable) as connection:
            found.append(str(connection.exec_driver_sql(query).scalar()))
            connection.execute(sa.select(TRIALS.c.trial_id))
    engine.dispose()
    assert found == expected


@pytest.mark.slow
def test_ten_thousand_trials_load_in_seconds(url: str) -> None:
    with open_storage(url) as opened:
        opened.create_study("a", ["minimize"])
        study = _study(opened.optuna)
        curve = {step: 1.0 / (1 + step) for step in range(20)}
        distributions = {f"x{n}": optuna.distributions.FloatDistribution(0, 1) for n in range(10)}
        for n in range(10_000):
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict.fromkeys(distributions, n % 97 / 97),
                    distributions=distributions,
                    value=float(n),
                    intermediate_values=curve,
                )
            )
        memory = study.get_trials(deepcopy=False)
    with open_storage(url) as opened:
        began = time.process_time()
        loaded = _study(opened.optuna).get_trials(deepcopy=False)
        assert time.process_time() - began < 8  # about 1 s on a quiet machine; Optuna's own reader takes 13
    assert_same_trials(memory, loaded)
