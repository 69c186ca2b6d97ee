"""The door to the own tables of one database: made when the first row is written, empty where they are not there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError

from hpo.storage import migrations
from hpo.storage.engine import explain, transaction, writing_engine
from hpo.storage.own import events, leases, metrics, studies
from hpo.storage.own.leases import Lease
from hpo.storage.patience import PATIENCE_SECONDS, tried_anew
from hpo.storage.place import Place
from hpo.storage.tables import STUDIES, TRIALS, Row, upsert

R = TypeVar("R")

_TRIAL = (
    sa.select(TRIALS.c.number, TRIALS.c.state, TRIALS.c.study_id, STUDIES.c.study_name)
    .join(STUDIES, STUDIES.c.study_id == TRIALS.c.study_id)
    .where(TRIALS.c.trial_id == sa.bindparam("trial"))
    .with_for_update(key_share=True, of=TRIALS)
)


class OwnTables:
    """Transactions over the own tables of one database. Thread safe; connects when first used.

    lease: checked by every `write` of it that does not say otherwise.
    patience: seconds for which a failing write is tried anew before StorageLost.
    """

    def __init__(self, place: Place, lease: Lease | None = None, patience: float = PATIENCE_SECONDS) -> None:
        self.place = place
        self._lease = lease
        self._patience = patience
        # two, so that nobody who reads waits for a write that is tried anew
        self._lock, self._writing = threading.RLock(), threading.RLock()
        self._reader: sa.Engine | None = None
        self._writer: sa.Engine | None = None
        # whoever took the lease has looked: a server that is away when a run first writes is waited for
        self._usable = lease is not None

    def prepare(self) -> None:
        """Make the tables where there are none. Optuna's must be there.

        Raises UserError when the database cannot be reached or written, or the tables are of another revision.
        """
        if self._usable:
            return
        with self._lock:
            if not self._usable:
                found = migrations.current(self.place) or migrations.upgrade(self.place)
                migrations.check_usable(found, self.place)
                self._usable = True

    def read(self, do: Callable[[sa.Connection], R], empty: R) -> R:
        """What `do` finds; `empty` where the tables are not there. Creates nothing.

        Raises UserError when the database cannot be reached or read, or the tables are of another revision.
        """
        if not self.place.exists:
            return empty
        with self._lock:
            if self._reader is None:
                self._reader = self.place.dialect.looker(self.place.url)
            reader = self._reader
        try:
            with reader.connect() as connection:
                if not self._usable:
                    found = migrations.revision(connection)
                    if found is None:
                        return empty
                    migrations.check_usable(found, self.place)
                    self._usable = True
                return do(connection)
        except sa.exc.DBAPIError as error:
            raise explain(error, self.place) from error

    def write(
        self,
        do: Callable[[sa.Connection, bool], R],
        *,
        durable: bool = True,
        checked: bool = True,
        patience: float | None = None,
    ) -> R:
        """What `do` gives, once its changes are committed. A transaction that fails for a passing reason is done anew.

        do: called with the connection and whether an earlier attempt may have been committed after all.
        checked: False for what looks at the lease by itself. patience: for this write, where not as for all.
        Raises StorageLost when the database stays away, and Fenced.
        """
        self.prepare()
        with self._writing:
            with self._lock:
                if self._writer is None:
                    self._writer = writing_engine(self.place)
                engine = self._writer

            def attempt(retried: bool) -> R:
                with transaction(engine, durable) as connection:
                    if checked and self._lease is not None:
                        leases.check(connection, self._lease)
                    return do(connection, retried)

            return tried_anew(self.place, self._patience if patience is None else patience, attempt)

    def report_metrics(self, trial_id: int, step: int, reported: Mapping[str, float], now: datetime) -> None:
        """What a trial reports besides the objective, in a transaction of its own.

        Raises UpdateFinishedTrialError, KeyError for a trial that is not there, and ValueError.
        """

        def do(connection: sa.Connection, _retried: bool) -> None:
            trial = connection.execute(_TRIAL, {"trial": trial_id}).one_or_none()
            if trial is None:
                raise KeyError(f"No trial with trial_id {trial_id} exists.")
            if trial.state.is_finished():
                raise UpdateFinishedTrialError(f"Trial#{trial.number} has already finished and can not be updated.")
            study, _ = studies.register(connection, trial.study_id, trial.study_name, now)
            rows = [metrics.metric_row(study, trial.number, step, *item) for item in reported.items()]
            if rows:
                connection.execute(upsert(metrics.METRICS, connection.dialect.name), rows)

        self.write(do, durable=False)

    def log_event(self, row: Row) -> None:
        """An event, as `events.event_row` makes it, in a transaction of its own."""
        self.write(lambda connection, _: events.write(connection, row), durable=False)

    def forget(self, optuna_id: int) -> None:
        """Delete the own rows of one of Optuna's studies, which is still there."""

        def do(connection: sa.Connection, _retried: bool) -> None:
            studies.remove(connection, optuna_id)

        if self.read(lambda connection: studies.find(connection, optuna_id), None) is not None:
            self.write(do)

    def close(self) -> None:
        """Let the connections go. Whoever uses it again connects again."""
        with self._lock:
            for engine in (self._reader, self._writer):
                if engine is not None:
                    engine.dispose()
            self._reader = self._writer = None
