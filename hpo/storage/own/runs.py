"""The launches of a study: where each ran, with what, how long it worked, and why it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hpo.storage.own.base import Base, long_text, plain, table, words


@dataclass(frozen=True)
class Holder:
    """A driver's process: what works on a study.

    host, pid, process_started: which process it is; when it started, since pids are given away again, in seconds from a
    moment that stays when the clock is set.
    since: when it took the study. address: the Ray cluster it uses, "local" for one of its own.
    """

    host: str
    pid: int
    process_started: float
    since: datetime
    address: str = "local"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since.astimezone().isoformat(timespec='seconds')}"


@dataclass(frozen=True)
class RunFacts:
    """What a run starts with: versions by package, the commit of the code where there is one, its sweep's row."""

    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    sweep: int | None = None


class RunRow(Base):
    """One launch."""

    __tablename__ = "hpo_runs"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[int] = mapped_column(sa.ForeignKey("hpo_studies.id"), index=True)
    sweep: Mapped[int | None] = mapped_column(sa.ForeignKey("hpo_sweeps.id"))
    fencing: Mapped[int]
    host: Mapped[str] = mapped_column(words(255))
    pid: Mapped[int]
    process_started: Mapped[float]
    address: Mapped[str] = mapped_column(words(255))
    versions: Mapped[str] = mapped_column(long_text())
    git_commit: Mapped[str | None] = mapped_column(words(64))
    started: Mapped[datetime]
    heartbeat: Mapped[datetime]
    seconds: Mapped[float]
    ended: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(long_text())


@dataclass(frozen=True)
class RunRecord:
    """One launch.

    fencing: the number its newest writes carried. seconds: worked until `heartbeat`. ended, reason: None while it runs,
    and for one whose process died unless another run has begun since.
    """

    id: int
    fencing: int
    holder: Holder
    facts: RunFacts
    heartbeat: datetime
    seconds: float
    ended: datetime | None
    reason: str | None


def start(connection: sa.Connection, study: int, fencing: int, holder: Holder, facts: RunFacts, now: datetime) -> int:
    """A new run's id. Runs of the study that never said their end are ended as taken over."""
    over = {"ended": now, "reason": plain(f"taken over by {holder}")}
    connection.execute(sa.update(RunRow).where(RunRow.study == study, RunRow.ended.is_(None)).values(over))
    row = {
        "study": study,
        "sweep": facts.sweep,
        "fencing": fencing,
        "host": plain(holder.host, 255),
        "pid": holder.pid,
        "process_started": holder.process_started,
        "address": plain(holder.address, 255),
        "versions": json.dumps(dict(facts.versions)),
        "git_commit": facts.git_commit,
        "started": holder.since,
        "heartbeat": now,
        "seconds": 0.0,
    }
    made = connection.execute(sa.insert(table(RunRow)), row).inserted_primary_key
    assert made is not None
    return int(made[0])


def newest(connection: sa.Connection, study: int) -> int:
    """The id of the newest run of a study that has one."""
    return int(connection.execute(sa.select(sa.func.max(RunRow.id)).where(RunRow.study == study)).scalar_one())


_BEAT = (
    sa.update(RunRow)
    .where(RunRow.id == sa.bindparam("run"))
    .values(heartbeat=sa.bindparam("now"), seconds=sa.bindparam("worked"), fencing=sa.bindparam("number"))
)


def beat(connection: sa.Connection, run: int, fencing: int, seconds: float, now: datetime) -> None:
    """Note that a run is alive and how long it has worked."""
    connection.execute(_BEAT, {"run": run, "now": now, "worked": seconds, "number": fencing})


def end(connection: sa.Connection, run: int, reason: str, now: datetime) -> None:
    """Note why a run ended."""
    connection.execute(sa.update(RunRow).where(RunRow.id == run).values(ended=now, reason=plain(reason)))


def read(connection: sa.Connection, study: int) -> list[RunRecord]:
    """All of a study, oldest first."""
    rows = connection.execute(sa.select(*table(RunRow).columns).where(RunRow.study == study).order_by(RunRow.id))
    return [
        RunRecord(
            id=row.id,
            fencing=row.fencing,
            holder=Holder(row.host, row.pid, row.process_started, row.started, row.address),
            facts=RunFacts(json.loads(row.versions), row.git_commit, row.sweep),
            heartbeat=row.heartbeat,
            seconds=row.seconds,
            ended=row.ended,
            reason=row.reason,
        )
        for row in rows
    ]
