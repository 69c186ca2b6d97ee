"""Commits whose answer was lost, and rows that a dying server forgot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import optuna
import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.storage import open_storage, resolve, work
from hpo.storage.batched import BatchedStorage
from hpo.storage.place import read_url
from hpo.testing.storage import assert_same_trials, plain_storage

X = {"x": optuna.distributions.FloatDistribution(0, 1)}


@pytest.fixture(params=["postgresql", "mysql"])
def url(request: pytest.FixtureRequest) -> str:
    """A server's database without tables. (A file's commit gives its answer, or was not made.)"""
    found: str = request.getfixturevalue({"postgresql": "postgres_url", "mysql": "mariadb_url"}[request.param])
    return found


@pytest.fixture
def storage(url: str) -> Iterator[BatchedStorage]:
    with open_storage(url) as opened:
        assert isinstance(opened.optuna, BatchedStorage)
        yield opened.optuna


def _study(storage: optuna.storages.BaseStorage) -> optuna.Study:
    return optuna.load_study(study_name="a", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))


OTHERS = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "BEGIN NOT ATOMIC FOR other IN (SELECT id FROM information_schema.processlist WHERE db = DATABASE() "
    "AND id <> CONNECTION_ID()) DO KILL other.id; END FOR; END",
}
"""Ends every other connection to this database, as a restart of the server would."""
OURSELVES = {"postgresql": "SELECT pg_terminate_backend(pg_backend_pid())", "mysql": "KILL CONNECTION_ID()"}
FORGET = {"postgresql": "SELECT setval('trials_trial_id_seq', 1)", "mysql": "ALTER TABLE trials AUTO_INCREMENT = 1"}
"""Lets the next trial have the id of one that was forgotten."""


def _execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(resolve(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def test_what_a_server_forgot_is_written_again(url: str) -> None:
    """Rows of commits that did not wait for the disk, taken away as the death of a server takes them."""
    with open_storage(url) as opened:
        opened.create_study("a", ["minimize"])
        study = _study(opened.optuna)
        study.tell(study.ask(X), 0.5)
        trial = study.ask(X)
        trial.report(1.0, 1)
        study.set_user_attr("note", "kept")
        opened.flush()
        assert isinstance(opened.optuna, BatchedStorage)
        kind = read_url(url).url.get_backend_name()
        of_trial = ("trial_params", "trial_intermediate_values", "trials")
        _execute(
            url,
            *(f"DELETE FROM {table} WHERE trial_id = {trial._trial_id}" for table in of_trial),
            "DELETE FROM study_user_attributes",
            FORGET[kind],
        )
        _execute(url, OTHERS[kind])
        trial.report(2.0, 2)
        opened.flush()
        assert study.ask(X).number == 2
        opened.flush()
        with plain_storage(resolve(url)) as plain:
            assert_same_trials(study.trials, _study(plain).trials)
            assert _study(plain).trials[1].intermediate_values == {1: 1.0, 2: 2.0}
            assert _study(plain).user_attrs == {"note": "kept"}


def _die(connection: sa.Connection, committed: bool) -> None:
    """Lose the connection, after a commit whose answer never arrives or before it was made."""
    connection.exec_driver_sql("COMMIT" if committed else "ROLLBACK")
    connection.exec_driver_sql(OURSELVES[connection.dialect.name])


class _DyingTrial(work.NewTrial):
    """Its first attempt ends with the connection; `committed` says how, `meanwhile` is called after it."""

    committed = True
    meanwhile: Callable[[], object] | None = None

    def insert(self, connection: sa.Connection, retried: bool) -> work.Inserted:
        if retried and self.meanwhile is not None:
            self.meanwhile()
        inserted = super().insert(connection, retried)
        if not retried:
            _die(connection, self.committed)
        return inserted


def test_a_trial_whose_commit_was_not_answered_is_made_once(storage: BatchedStorage, url: str) -> None:
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "a")
    template = optuna.trial.create_trial(
        state=TrialState.WAITING, params={"x": 0.5}, distributions=X, system_attrs={"a": [1]}
    )
    for number, given in enumerate((None, template)):
        with storage._db:
            dialect = read_url(url).dialect
            trial_id = storage._make(_DyingTrial(storage._study(study_id), given, datetime.now(), dialect))
        assert storage.get_trial_number_from_id(trial_id) == number
    with plain_storage(resolve(url)) as plain:
        assert_same_trials(storage.get_all_trials(study_id), plain.get_all_trials(study_id))


def test_a_trial_of_others_is_not_taken_for_the_one_whose_commit_was_not_made(
    storage: BatchedStorage, url: str
) -> None:
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "a")
    now = datetime.now()
    alike = optuna.trial.create_trial(state=TrialState.RUNNING)
    alike.datetime_start = now
    with plain_storage(resolve(url)) as plain, storage._db:
        dying = _DyingTrial(storage._study(study_id), None, now, read_url(url).dialect)
        dying.committed, dying.meanwhile = False, lambda: plain.create_new_trial(study_id, alike)
        assert storage.get_trial_number_from_id(storage._make(dying)) == 1
        assert_same_trials(storage.get_all_trials(study_id), plain.get_all_trials(study_id))


def test_a_tell_whose_commit_was_not_answered_is_ours(storage: BatchedStorage, url: str) -> None:
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "a")
    trial_id = storage.create_new_trial(study_id)
    storage.set_trial_intermediate_value(trial_id, 1, 1.0)
    with storage.batch():
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])
        with storage._db:
            storage._commit(lambda connection, retried: None if retried else _die(connection, True))
    with plain_storage(resolve(url)) as plain:
        assert_same_trials(storage.get_all_trials(study_id), plain.get_all_trials(study_id))
    assert storage.get_trial(trial_id).values == [0.5]
