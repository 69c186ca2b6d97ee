"""What is special about MySQL and MariaDB: sizes, letters, fractions of a second, locks, a server that closes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from hpo.errors import UserError
from hpo.storage import StudyStorage, open_storage, resolve
from hpo.storage.batched import BatchedStorage
from hpo.testing.mariadb import MariaDBServer
from hpo.testing.storage import assert_same_trials, plain_storage

X = {"x": FloatDistribution(0, 1)}
LIMIT = 65_535
"""Bytes of a TEXT."""


@pytest.fixture(scope="module")
def url(mariadb_server: MariaDBServer) -> Iterator[str]:
    """A database in which each test makes studies of its own name."""
    url = mariadb_server.database()
    yield url
    mariadb_server.drop(url)


@pytest.fixture
def theirs(mariadb_url: str) -> str:
    """A database whose tables a plain Optuna made, as this server does by default: latin1, no case, whole seconds."""
    with plain_storage(mariadb_url) as plain:
        assert plain.get_all_studies() == []
    return mariadb_url


@contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool, isolation_level="READ COMMITTED")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _storage(opened: StudyStorage) -> BatchedStorage:
    assert isinstance(opened.optuna, BatchedStorage)
    return opened.optuna


def test_what_a_text_column_cannot_hold_is_refused_and_the_batch_lives(url: str) -> None:
    with open_storage(url) as opened:
        storage = _storage(opened)
        study_id = storage.create_new_study([StudyDirection.MINIMIZE], "sizes")
        trial_id = storage.create_new_trial(study_id)
        fits, too_long = "x" * (LIMIT - 2), "x" * (LIMIT - 1)  # in JSON with two quotes
        many = CategoricalDistribution([f"{n:0>50}" for n in range(1300)])
        storage.set_trial_intermediate_value(trial_id, 1, 0.5)
        storage.set_trial_user_attr(trial_id, "fits", fits)
        for write in (
            lambda: storage.set_trial_user_attr(trial_id, "long", too_long),
            lambda: storage.set_trial_system_attr(trial_id, "long", "ü" * 11_000),  # six bytes each in JSON
            lambda: storage.set_study_user_attr(study_id, "long", too_long),
            lambda: storage.set_study_system_attr(study_id, "long", too_long),
            lambda: storage.set_trial_param(trial_id, "long", 0, many),
            lambda: storage.create_new_trial(
                study_id, create_trial(state=TrialState.WAITING, user_attrs={"long": too_long})
            ),
        ):
            with pytest.raises(ValueError, match=r"'long' is \d\d,\d{3} bytes as JSON; mysql holds 65,535"):
                write()
        storage.set_trial_intermediate_value(trial_id, 2, 0.25)
        storage.flush()
        with plain_storage(url) as plain:
            assert_same_trials(storage.get_all_trials(study_id), plain.get_all_trials(study_id))
            assert plain.get_trial(trial_id).user_attrs == {"fits": fits}
        assert storage.get_study_user_attrs(study_id) == {}
        with pytest.raises(UserError, match=r"storage: 'hpo:sweep' is 65,536 bytes") as caught:
            opened.create_study("big", ["minimize"], {"hpo:sweep": "x" * (LIMIT - 1)})
        assert caught.value.exit_code == 2
        assert not opened.exists("big")


def test_keys_are_told_apart_letter_by_letter(url: str) -> None:
    names = ["lr", "LR", "lr ", "ﬁ", "fi", "ü", "u", "日本", "😀"]
    with open_storage(url) as opened:
        storage = _storage(opened)
        for n, name in enumerate(names):
            opened.create_study(f"keys {name}", ["minimize"], {"n": n})
        for n, name in enumerate(names):
            study_id = storage.get_study_id_from_name(f"keys {name}")
            assert storage.get_study_user_attrs(study_id)["n"] == n
            trial_id = storage.create_new_trial(study_id)
        for n, name in enumerate(names):
            storage.set_trial_user_attr(trial_id, name, n)
            storage.set_trial_param(trial_id, name, n / 10, X["x"])
        storage.flush()
        with plain_storage(url) as plain:
            read = plain.get_trial(trial_id)
        assert read.user_attrs == {name: n for n, name in enumerate(names)}
        assert read.params == {name: n / 10 for n, name in enumerate(names)}


def test_moments_keep_their_fractions(url: str) -> None:
    with open_storage(url) as opened:
        opened.create_study("moments", ["minimize"])
        study = optuna.load_study(study_name="moments", storage=opened.optuna)
        for _ in range(3):
            study.tell(study.ask(), 1.0)
        with plain_storage(url) as plain:
            starts = [trial.datetime_start for trial in plain.get_all_trials(study._study_id)]
    assert len(set(starts)) == 3


def test_tables_that_optuna_made_lose_fractions_in_memory_too(theirs: str) -> None:
    with open_storage(theirs) as opened, plain_storage(theirs) as plain:
        opened.create_study("a", ["minimize"])
        study = optuna.load_study(study_name="a", storage=opened.optuna)
        study.tell(study.ask(X), 1.0)
        study.enqueue_trial({"x": 0.5})
        assert_same_trials(study.trials, plain.get_all_trials(study._study_id))
        assert all(trial.datetime_start is None or trial.datetime_start.microsecond == 0 for trial in study.trials)
        # within one second their moments are the same, and still the trial goes to one of the two
        bare = optuna.load_study(study_name="a", storage=plain)
        numbers = [bare.ask().number, study.ask().number]
        assert numbers == [1, 2]


def test_keys_that_tables_which_optuna_made_would_mix_up_are_refused(theirs: str) -> None:
    with open_storage(theirs) as opened, plain_storage(theirs) as plain:
        opened.create_study("a", ["minimize"])
        with pytest.raises(KeyError):
            opened.optuna.get_study_id_from_name("A")
        storage = _storage(opened)
        study_id = storage.get_study_id_from_name("a")
        trial_id = storage.create_new_trial(study_id)
        storage.set_trial_user_attr(trial_id, "seed", 1)
        storage.set_trial_param(trial_id, "lr", 0.5, X["x"])
        storage.set_study_user_attr(study_id, "note", 1)
        template = create_trial(state=TrialState.WAITING, user_attrs={"a": 1, "A": 2})
        for alike, write in {
            "seed": lambda: storage.set_trial_user_attr(trial_id, "SEED", 2),
            "lr": lambda: storage.set_trial_param(trial_id, "lr ", 0.25, X["x"]),
            "note": lambda: storage.set_study_user_attr(study_id, "Note", 2),
            "[aA]": lambda: storage.create_new_trial(study_id, template),
        }.items():
            with pytest.raises(ValueError, match=rf"cannot be told from '{alike}' in tables that hpo did not make"):
                write()
        with pytest.raises(ValueError, match="cannot be kept for its letters beyond ASCII"):
            storage.set_trial_user_attr(trial_id, "日本", 1)
        storage.set_trial_user_attr(trial_id, "seed", 3)
        storage.flush()
        assert_same_trials(storage.get_all_trials(study_id), plain.get_all_trials(study_id))
        assert plain.get_trial(trial_id).user_attrs == {"seed": 3}


def test_a_lenient_server_is_made_strict(url: str, mariadb_server: MariaDBServer) -> None:
    mariadb_server.run("SET GLOBAL sql_mode = ''")
    try:
        with open_storage(url) as opened:
            storage = _storage(opened)
            study_id = storage.create_new_study([StudyDirection.MINIMIZE], "strict")
            with storage._writer.engine.connect() as connection, pytest.raises(sa.exc.DataError, match="too long"):
                connection.execute(
                    sa.text("INSERT INTO study_user_attributes (study_id, `key`, value_json) VALUES (:s, 'k', :v)"),
                    {"s": study_id, "v": "x" * (LIMIT + 1)},
                )
    finally:
        mariadb_server.run("SET GLOBAL sql_mode = DEFAULT")


def _tell_in_thread(study: optuna.Study, *trials: optuna.Trial) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def tell() -> None:
        try:
            with study._storage.batch():  # type: ignore[attr-defined]
                for trial in trials:
                    study.tell(trial, 1.0)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=tell)
    thread.start()
    return thread, errors


def test_a_lock_that_takes_longer_than_the_server_waits(
    url: str, mariadb_server: MariaDBServer, caplog: pytest.LogCaptureFixture
) -> None:
    mariadb_server.run("SET GLOBAL innodb_lock_wait_timeout = 1")
    try:
        with open_storage(url) as opened, _connected(url) as other:
            opened.create_study("waits", ["minimize"])
            study = optuna.load_study(study_name="waits", storage=opened.optuna)
            trial = study.ask()
            with other.begin():
                other.exec_driver_sql(f"UPDATE trials SET number = number WHERE trial_id = {trial._trial_id}")
                other.exec_driver_sql(f"SELECT * FROM trials WHERE trial_id = {trial._trial_id} FOR UPDATE")
                thread, errors = _tell_in_thread(study, trial)
                time.sleep(1.5)  # one attempt has failed by now
                assert thread.is_alive()
            thread.join()
            assert errors == []
            with plain_storage(url) as plain:
                assert_same_trials(study.trials, plain.get_all_trials(study._study_id))
            assert study.trials[0].state == TrialState.COMPLETE
    finally:
        mariadb_server.run("SET GLOBAL innodb_lock_wait_timeout = DEFAULT")


def test_a_deadlock_is_tried_anew(url: str) -> None:
    with open_storage(url) as opened, _connected(url) as other:
        opened.create_study("dead", ["minimize"])
        study = optuna.load_study(study_name="dead", storage=opened.optuna)
        first, second = study.ask(), study.ask()
        opened.flush()
        with other.begin():
            # the transaction that has changed less is the victim, and that must be ours
            other.exec_driver_sql(
                "INSERT INTO trial_user_attributes (trial_id, `key`, value_json) "
                f"SELECT {second._trial_id}, seq, '1' FROM seq_1_to_500"
            )
            other.exec_driver_sql(f"SELECT * FROM trials WHERE trial_id = {second._trial_id} FOR UPDATE")
            thread, errors = _tell_in_thread(study, first, second)
            time.sleep(0.5)  # ours has the first and waits for the second
            other.exec_driver_sql(f"SELECT * FROM trials WHERE trial_id = {first._trial_id} FOR UPDATE")
            status = other.exec_driver_sql("SHOW ENGINE INNODB STATUS").one()[2]
        thread.join()
        assert errors == []
        assert "LATEST DETECTED DEADLOCK" in status
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2


def test_connections_that_the_server_closed_for_being_idle(url: str, mariadb_server: MariaDBServer) -> None:
    mariadb_server.run("SET GLOBAL wait_timeout = 1")
    try:
        with open_storage(url) as opened:
            storage = BatchedStorage(_storage(opened)._place, lag=60, refresh_every=60)
            study_id = storage.create_new_study([StudyDirection.MINIMIZE], "idle")
            trial_id = storage.create_new_trial(study_id)
            time.sleep(1.5)
            storage.refresh()
            assert storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
            storage.close()
    finally:
        mariadb_server.run("SET GLOBAL wait_timeout = DEFAULT")


def test_a_wrong_password_is_one_sentence_without_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, host = url.removeprefix("mysql+pymysql://hpo:").split("@")
    bare = f"mariadb://hpo@{host}"
    monkeypatch.setenv("HPO_STORAGE_PASSWORD", right)
    with open_storage(bare) as opened:
        assert opened.study_names() is not None
        assert right in opened.url
        assert right not in opened.place
    monkeypatch.setenv("HPO_STORAGE_PASSWORD", "hunter2")
    with (
        open_storage(bare) as opened,
        pytest.raises(UserError, match=r"storage: cannot use mysql://hpo:\*\*\*@") as caught,
    ):
        opened.study_names()
    assert "Access denied" in str(caught.value)
    assert "hunter2" not in f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
