"""What is kept of one study besides Optuna's own fields: who works on it, its specs, runs, metrics, exports, events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa

from hpo.errors import NotFound
from hpo.storage.own import events, exports, leases, metrics, runs, studies, sweeps
from hpo.storage.own.events import EventRecord
from hpo.storage.own.exports import ExportRecord
from hpo.storage.own.leases import Lease, LeaseState
from hpo.storage.own.metrics import Curves
from hpo.storage.own.runs import Holder, RunFacts, RunRecord
from hpo.storage.own.sweeps import SweepRecord
from hpo.storage.own_tables import OwnTables
from hpo.storage.tables import STUDIES

R = TypeVar("R")


class StudyRecords:
    """The own rows of one study. Thread safe. What it gives are frozen dataclasses.

    Reading creates nothing: of a study for which hpo never wrote, all answers are empty. The first write makes the
    tables and, for a study without one, its attribute `hpo:id`. `now` is an aware moment, taken by the caller.
    Every write is committed on return, and raises StorageLost when the database stays away.
    """

    def __init__(self, name: str, own: OwnTables) -> None:
        self.name = name
        self._own = own

    # -- who works on the study

    def lease(self) -> LeaseState | None:
        """Who holds the study or held it last; None when nobody ever took it."""
        return self._read(leases.read, None)

    def take(
        self,
        holder: Holder,
        after: LeaseState | None,
        facts: RunFacts,
        now: datetime,
        *,
        alive: bool = False,
        spec: str | None = None,
        by: str = "",
    ) -> Lease:
        """Take the study and start a run, in one transaction; of racing callers one succeeds.

        It is given when nobody holds it, or when its lease is still the one that `after` shows: the same fencing number
        and the same beat, so that a holder which lives after all is never taken for dead. alive: take it from a living
        one, which is fenced from then on; only the number is compared. spec, by: what it works on, as for `add_sweep`.
        Raises Held, saying who works on it since when.
        """

        def do(connection: sa.Connection, _retried: bool) -> Lease:
            study = studies.register(connection, self._optuna_id(connection), self.name, now)
            sweep = facts.sweep if spec is None else sweeps.add(connection, study[0], spec, by, now).id
            return leases.take(connection, study, holder, after, replace(facts, sweep=sweep), now, alive=alive)

        return self._own.write(do, checked=False)

    def renew(self, lease: Lease, seconds: float, now: datetime) -> None:
        """Show that the run lives: one more beat, and the seconds it has worked so far. Raises Fenced."""
        self._own.write(
            lambda connection, _: leases.renew(connection, lease, seconds, now), durable=False, checked=False
        )

    def advance(self, lease: Lease, now: datetime) -> Lease:
        """The same run under the next fencing number: a process of it that still has the old one is fenced.

        For a coordinator started anew. Raises Fenced when somebody else has the study.
        """
        return self._own.write(
            lambda connection, retried: leases.advance(connection, lease, now, retried), checked=False
        )

    def release(self, lease: Lease, reason: str, seconds: float, now: datetime) -> None:
        """End the run and let the study go: it can be taken at once. Raises Fenced."""
        self._own.write(lambda connection, _: leases.release(connection, lease, reason, seconds, now), checked=False)

    # -- what was launched and what came of it

    def add_sweep(self, spec: str, by: str, now: datetime) -> SweepRecord:
        """Keep a spec, which must hold no secret; the newest one itself when nothing changed."""
        return self._write(now, lambda connection, study: sweeps.add(connection, study, spec, by, now))

    def sweeps(self) -> list[SweepRecord]:
        """The specs it was launched with, oldest first."""
        return self._read(sweeps.read, [])

    def runs(self) -> list[RunRecord]:
        """Its runs, oldest first."""
        return self._read(runs.read, [])

    def metrics(self, trials: Iterable[int] | None = None) -> Curves:
        """{trial number: {name: {step: value}}} of these trials, of all when None; those without any are left out."""
        return self._read(lambda connection, study: metrics.read(connection, study, trials), {})

    def add_export(self, trial: int, path: str, digest: str, by: str, now: datetime) -> None:
        """Note that a trial, by its number, was exported to a file."""
        self._write(now, lambda connection, study: exports.add(connection, study, trial, path, digest, by, now))

    def exports(self) -> list[ExportRecord]:
        """What was exported, oldest first."""
        return self._read(exports.read, [])

    def log_event(
        self, kind: str, text: str, now: datetime, *, trial: int | None = None, run: int | None = None
    ) -> None:
        """Note what was done: `kind` in one word, `text` in a sentence. run: its id, of the lease that was taken."""
        made = events.event_row(0, run, kind, text, trial, now)  # one UUID for all attempts
        self._write(now, lambda connection, study: events.write(connection, {**made, "study": study}))

    def events(self, after: int = 0) -> list[EventRecord]:
        """What its runs did, in order; only those whose id is greater than `after`."""
        return self._read(lambda connection, study: events.read(connection, study, after), [])

    # -- where its rows are

    def _read(self, do: Callable[[sa.Connection, int], R], empty: R) -> R:
        def reading(connection: sa.Connection) -> R:
            study = studies.find(connection, self._optuna_id(connection))
            return empty if study is None else do(connection, study)

        return self._own.read(reading, empty)

    def _write(self, now: datetime, do: Callable[[sa.Connection, int], R]) -> R:
        def writing(connection: sa.Connection, _retried: bool) -> R:
            study, _ = studies.register(connection, self._optuna_id(connection), self.name, now)
            return do(connection, study)

        return self._own.write(writing)

    def _optuna_id(self, connection: sa.Connection) -> int:
        found = connection.scalar(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == self.name))
        if found is None:
            raise NotFound(f"study {self.name!r} does not exist in {self._own.place}")
        return int(found)
