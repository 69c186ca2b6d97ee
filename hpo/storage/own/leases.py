"""One driver at a time: a study's lease, and the fencing number that every write of its holder carries.

The number grows each time somebody takes the study. A writer looks at it in each of its transactions, under a lock on
the lease's row that taking needs too: whoever was taken over while it slept finds a greater number and writes nothing.

No clock of one machine is compared with another's: a holder that lives counts beats, and whoever wants the study
watches the counter by a clock of his own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hpo.storage.own import runs
from hpo.storage.own.base import Base, plain, table, words
from hpo.storage.own.runs import Holder, RunFacts
from hpo.storage.own.studies import StudyRow
from hpo.storage.refusals import Fenced, Held


class LeaseRow(Base):
    """Who works on a study; `released` when nobody does."""

    __tablename__ = "hpo_leases"

    study: Mapped[int] = mapped_column(sa.ForeignKey("hpo_studies.id"), primary_key=True, autoincrement=False)
    fencing: Mapped[int]
    beat: Mapped[int]
    run: Mapped[int] = mapped_column(sa.ForeignKey("hpo_runs.id"))
    host: Mapped[str] = mapped_column(words(255))
    pid: Mapped[int]
    process_started: Mapped[float]
    address: Mapped[str] = mapped_column(words(255))
    since: Mapped[datetime]
    released: Mapped[datetime | None]


@dataclass(frozen=True)
class Lease:
    """The right to write to a study, for as long as nobody took it over. Data: it may cross processes.

    study_uuid: the study's attribute `hpo:id`; study: its id in `hpo_studies`. run: the id of the run's row.
    """

    study_uuid: str
    study: int
    fencing: int
    run: int


@dataclass(frozen=True)
class LeaseState:
    """Who holds a study. beat: grows while the holder lives. released: when it let go, None while it holds."""

    holder: Holder
    fencing: int
    beat: int
    released: datetime | None


# built once: building a statement takes as long as running it
_READ = sa.select(*table(LeaseRow).columns).where(LeaseRow.study == sa.bindparam("study"))
_LOCK = _READ.with_for_update()
_FENCE = sa.select(LeaseRow.fencing).where(LeaseRow.study == sa.bindparam("study")).with_for_update(read=True)
_RENEW = (
    sa.update(LeaseRow)
    .where(LeaseRow.study == sa.bindparam("the_study"), LeaseRow.fencing == sa.bindparam("number"))
    .values(beat=LeaseRow.beat + 1)
)


def read(connection: sa.Connection, study: int) -> LeaseState | None:
    """The lease of a study; None when nobody ever took it."""
    row = connection.execute(_READ, {"study": study}).one_or_none()
    return None if row is None else _state(row)


def take(
    connection: sa.Connection,
    study: tuple[int, str],
    holder: Holder,
    after: LeaseState | None,
    facts: RunFacts,
    now: datetime,
    *,
    alive: bool = False,
) -> Lease:
    """Take a study that nobody holds, or whose holder's lease still looks as it did in `after`; starts a run.

    study: its id in `hpo_studies` and its UUID. alive: take it from a holder whose beat has grown since `after` too.
    Raises Held. Taking it twice as the same holder gives the same lease. Raises IntegrityError when another process
    takes the study for the first time at this moment: do the transaction anew.
    """
    number, uuid = study
    row = connection.execute(_LOCK, {"study": number}).one_or_none()
    held = None if row is None else _state(row)
    if row is not None and held is not None and held.released is None:
        if held.holder == holder:  # by an attempt of ours whose answer was lost
            return Lease(uuid, number, held.fencing, row.run)
        if after is None or after.fencing != held.fencing or (after.beat != held.beat and not alive):
            raise Held(f"study {_name(connection, number)} is being run by {held.holder}")
    fencing = 1 if held is None else held.fencing + 1
    run = runs.start(connection, number, fencing, holder, facts, now)
    columns = {
        "fencing": fencing,
        "beat": 0,
        "run": run,
        "host": plain(holder.host, 255),
        "pid": holder.pid,
        "process_started": holder.process_started,
        "address": plain(holder.address, 255),
        "since": holder.since,
        "released": None,
    }
    if held is None:
        connection.execute(sa.insert(table(LeaseRow)), {"study": number, **columns})
    else:
        connection.execute(sa.update(LeaseRow).where(LeaseRow.study == number).values(columns))
    return Lease(uuid, number, fencing, run)


def check(connection: sa.Connection, lease: Lease) -> None:
    """Raise Fenced unless the lease is the newest; until this transaction ends nobody can take the study."""
    if connection.scalar(_FENCE, {"study": lease.study}) != lease.fencing:
        raise fenced(connection, lease)


def fenced(connection: sa.Connection, lease: Lease) -> Fenced:
    """The error for a lease that is not the newest any more; says who has the study now."""
    state = read(connection, lease.study)
    if state is None:
        return Fenced("the study was deleted while this run worked on it; nothing more is written")
    return Fenced(
        f"study {_name(connection, lease.study)} was taken over by {state.holder} (its fencing number is "
        f"{state.fencing}, ours {lease.fencing}); nothing more of this run is written",
        "what was told before is stored; the other run goes on with it",
    )


def renew(connection: sa.Connection, lease: Lease, seconds: float, now: datetime) -> None:
    """Count one beat, and note that the run is alive and has worked for `seconds`. Raises Fenced."""
    if connection.execute(_RENEW, {"the_study": lease.study, "number": lease.fencing}).rowcount != 1:
        raise fenced(connection, lease)
    runs.beat(connection, lease.run, lease.fencing, seconds, now)


def advance(connection: sa.Connection, lease: Lease, now: datetime, retried: bool = False) -> Lease:
    """The same run under the next number: from here on a process that has the old one is fenced. Raises Fenced.

    retried: whether an attempt before this one may have been committed; its number is then taken for ours.
    """
    row = connection.execute(_LOCK, {"study": lease.study}).one_or_none()
    number = lease.fencing + 1
    if retried and row is not None and (row.run, row.fencing) == (lease.run, number):
        return Lease(lease.study_uuid, lease.study, number, lease.run)
    if row is None or row.fencing != lease.fencing:
        raise fenced(connection, lease)
    connection.execute(sa.update(LeaseRow).where(LeaseRow.study == lease.study).values(fencing=number, beat=0))
    connection.execute(sa.update(runs.RunRow).where(runs.RunRow.id == lease.run).values(fencing=number, heartbeat=now))
    return Lease(lease.study_uuid, lease.study, number, lease.run)


def release(connection: sa.Connection, lease: Lease, reason: str, seconds: float, now: datetime) -> None:
    """Let the study go and note why the run ended. Raises Fenced."""
    renew(connection, lease, seconds, now)
    connection.execute(sa.update(LeaseRow).where(LeaseRow.study == lease.study).values(released=now))
    runs.end(connection, lease.run, reason, now)


def _name(connection: sa.Connection, study: int) -> str:
    return repr(connection.scalar(sa.select(StudyRow.name).where(StudyRow.id == study)))


def _state(row: sa.Row[tuple[object, ...]]) -> LeaseState:
    holder = Holder(row.host, row.pid, row.process_started, row.since, row.address)
    return LeaseState(holder, row.fencing, row.beat, row.released)
