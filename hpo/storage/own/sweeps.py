"""What was asked for: the spec of each launch that differed from the one before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hpo.storage.own.base import Base, long_text, plain, table, words


class SweepRow(Base):
    """A spec and who launched it first."""

    __tablename__ = "hpo_sweeps"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[int] = mapped_column(sa.ForeignKey("hpo_studies.id"), index=True)
    spec: Mapped[str] = mapped_column(long_text())
    digest: Mapped[str] = mapped_column(words(64))
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(words(255))


@dataclass(frozen=True)
class SweepRecord:
    """A spec as JSON text, its SHA-256, and who launched it first."""

    id: int
    spec: str
    digest: str
    created: datetime
    created_by: str


_READ = sa.select(SweepRow.id, SweepRow.spec, SweepRow.digest, SweepRow.created, SweepRow.created_by)


def add(connection: sa.Connection, study: int, spec: str, by: str, now: datetime) -> SweepRecord:
    """Keep a spec; the newest one itself when nothing changed. Must hold no secret: it is stored as it is."""
    digest = hashlib.sha256(spec.encode()).hexdigest()
    newest = connection.execute(
        _READ.where(SweepRow.study == study).order_by(SweepRow.id.desc()).limit(1)
    ).one_or_none()
    if newest is not None and newest.digest == digest:
        return SweepRecord(**newest._mapping)
    row = {"spec": spec, "digest": digest, "created": now, "created_by": plain(by, 255)}
    made = connection.execute(sa.insert(table(SweepRow)), {"study": study, **row}).inserted_primary_key
    assert made is not None
    return SweepRecord(made[0], spec, digest, now, plain(by, 255))


def read(connection: sa.Connection, study: int) -> list[SweepRecord]:
    """All of a study, oldest first."""
    rows = connection.execute(_READ.where(SweepRow.study == study).order_by(SweepRow.id))
    return [SweepRecord(**row._mapping) for row in rows]
