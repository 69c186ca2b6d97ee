"""The one writer: a batch becomes a transaction, tried anew while the database does not answer.

What a transaction does, in this order: look at the lease and at the trials it touches, leave out what may not be
written any more (somebody else finished the trial, or deleted it), set states, then parameters, curves, values and
attributes.

Commits that do not wait for the disk can be lost with a server that dies. So everything since the last commit that did
wait is kept, and written again in the first transaction of every new connection; each row is an upsert, so writing
again does no harm.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.storage.batch import ALL_CELLS, Batch, Change
from hpo.storage.dialects import dialect_of
from hpo.storage.engine import transaction, writing_engine
from hpo.storage.own import leases
from hpo.storage.own.leases import Lease
from hpo.storage.patience import PATIENCE_SECONDS, tried_anew
from hpo.storage.place import Place
from hpo.storage.tables import STUDIES, TRIALS, upsert

R = TypeVar("R")

_CHUNK = 500
# Commits that did not wait are made durable after this long or this many rows, whichever comes first.
_UNSYNCED_SECONDS, _UNSYNCED_ROWS = 5.0, 20_000
_FINAL = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]

# Statements are built once: building one takes as long as running it.
# In order of id, so that two writers cannot wait for each other.
_LOOK = (
    sa.select(TRIALS.c.trial_id, TRIALS.c.state, TRIALS.c.datetime_start, TRIALS.c.datetime_complete)
    .where(TRIALS.c.trial_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(TRIALS.c.trial_id)
    .with_for_update(key_share=True)
)


@dataclass
class Written(Generic[R]):
    """What became of a batch.

    result: what the extra work returned.
    lost: trials that somebody else finished or took first; none of their changes was written.
    gone, gone_studies: trials and studies that are not there any more.
    """

    result: R
    lost: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    gone_studies: set[int] = field(default_factory=set)


class Writer:
    """Writes batches to one database. Not thread safe: the caller holds its lock for the whole of `commit`.

    patience: seconds for which a failing transaction is tried anew before StorageLost.
    lease: looked at first in every transaction; once somebody else has the study nothing is written.
    """

    def __init__(self, place: Place, patience: float = PATIENCE_SECONDS, lease: Lease | None = None) -> None:
        self.engine = writing_engine(place)
        self._place = place
        self._patience = patience
        self._lease = lease
        self._upserts = {cells: upsert(cells, self.engine.dialect.name) for cells in ALL_CELLS}
        self._unsynced = Batch()
        self._synced_at = time.monotonic()
        self._reconnected = False
        sa.event.listen(self.engine, "connect", self._connected)

    def commit(
        self,
        batch: Batch,
        work: Callable[[sa.Connection, bool], R],
        created: Callable[[R], Batch] | None = None,
        durable: bool = False,
    ) -> Written[R]:
        """Write `batch` and do `work`, in one transaction that is committed on return.

        work: called with the connection and whether an earlier attempt may have been committed after all.
        created: gives the rows that `work` wrote, kept in case they have to be written again.
        Raises StorageLost when the database stays away, and Fenced; what `work` raises passes through. Nothing is
        written then.
        """
        durable = durable or batch.finishes or self._overdue()

        def attempt(retried: bool) -> Written[R]:
            with transaction(self.engine, durable) as connection:
                return self._write(connection, batch, work, retried)

        written = tried_anew(self._place, self._patience, attempt)
        self._remember(batch, created(written.result) if created else None, durable)
        return written

    def _connected(self, _connection: Any, _record: object) -> None:
        self._reconnected = True

    def _overdue(self) -> bool:
        return len(self._unsynced) > _UNSYNCED_ROWS or (
            len(self._unsynced) > 0 and time.monotonic() - self._synced_at > _UNSYNCED_SECONDS
        )

    def _remember(self, batch: Batch, created: Batch | None, durable: bool) -> None:
        self._reconnected = False
        if durable:
            self._unsynced = Batch()
            self._synced_at = time.monotonic()
            return
        self._unsynced.update(batch)
        if created is not None:
            self._unsynced.update(created)

    def _write(
        self, connection: sa.Connection, batch: Batch, work: Callable[[sa.Connection, bool], R], retried: bool
    ) -> Written[R]:
        if self._lease is not None:
            leases.check(connection, self._lease)
        made = batch.states.keys() if retried else set()
        if (self._reconnected or retried) and len(self._unsynced):
            made = made | self._unsynced.states.keys()
            everything = Batch()
            everything.update(self._unsynced)
            everything.update(batch)
            batch = everything
            self._restore(connection, batch)
        lost, gone = self._inspect(connection, batch, made)
        gone_studies = batch.study_ids() - self._present(connection, batch.study_ids())
        if lost or gone or gone_studies:
            batch = batch.without(lost | gone, gone_studies)
        self._states(connection, batch)
        for cells, rows in batch.cells.items():
            if rows:
                connection.execute(self._upserts[cells], list(rows.values()))
        return Written(work(connection, retried), lost, gone, gone_studies)

    def _inspect(self, connection: sa.Connection, batch: Batch, made: Set[int]) -> tuple[set[int], set[int]]:
        """Trials of the batch that others finished or took, and those that are gone. Locks the others' rows.

        made: trials whose change an earlier transaction of ours may have made.
        """
        ids = sorted(batch.trial_ids())
        lost: set[int] = set()
        gone = set(ids)
        for start in range(0, len(ids), _CHUNK):
            for row in connection.execute(_LOOK, {"ids": ids[start : start + _CHUNK]}):
                gone.discard(row.trial_id)
                change = batch.states.get(row.trial_id)
                if not _applies(change, row, row.trial_id in made):
                    lost.add(row.trial_id)
        return lost, gone

    def _present(self, connection: sa.Connection, study_ids: set[int]) -> set[int]:
        if not study_ids:
            return set()
        return set(connection.execute(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id.in_(study_ids))).scalars())

    def _states(self, connection: sa.Connection, batch: Batch) -> None:
        """One statement for all changes that set the same columns."""
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for trial_id, change in batch.states.items():
            columns = change.columns()
            alike.setdefault(tuple(columns), []).append(
                {"the_id": trial_id, **{f"new_{name}": value for name, value in columns.items()}}
            )
        for names, rows in alike.items():
            connection.execute(_update(names), rows)

    def _restore(self, connection: sa.Connection, batch: Batch) -> None:
        """Insert anew the trials whose rows a dying server forgot, under their own ids."""
        if not batch.trials:
            return
        ids = set(batch.trials)
        query = sa.select(TRIALS.c.trial_id).where(TRIALS.c.trial_id.in_(ids))
        missing = ids - set(connection.execute(query).scalars())
        for trial_id in sorted(missing):
            connection.execute(sa.insert(TRIALS), {"trial_id": trial_id, **batch.trials[trial_id]})
        if missing:
            dialect_of(connection).ids_were_given(connection, TRIALS.c.trial_id)


@functools.cache
def _update(names: tuple[str, ...]) -> sa.Update:
    """Sets these columns of one trial; the parameters are `the_id` and `new_` with the column's name."""
    statement = sa.update(TRIALS).where(TRIALS.c.trial_id == sa.bindparam("the_id"))
    return statement.values({name: sa.bindparam(f"new_{name}") for name in names})


def _applies(change: Change | None, row: Any, again: bool) -> bool:
    """Whether a trial whose row looks like this may be written to, its state changed by `change` if there is one.

    again: whether the change may have been made already, by an attempt of ours whose answer was lost.
    """
    if change is None:
        return not row.state.is_finished()
    if row.state in change.allowed:
        return True
    moments = (change.start or row.datetime_start, change.complete or row.datetime_complete)
    return again and row.state == change.state and moments == (row.datetime_start, row.datetime_complete)
