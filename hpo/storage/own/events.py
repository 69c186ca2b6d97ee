"""What runs did, one line an event; only ever added to.

Each event gets its UUID from who writes it, so that writing it again, after a connection was lost, adds nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hpo.storage.own.base import Base, long_text, plain, table, words
from hpo.storage.tables import Cells, Row, upsert


class EventRow(Base):
    """One event. No foreign key: it may be written again before what a dying server forgot."""

    __tablename__ = "hpo_events"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(words(36), unique=True)
    study: Mapped[int] = mapped_column(index=True)
    run: Mapped[int | None]
    moment: Mapped[datetime]
    kind: Mapped[str] = mapped_column(words(64))
    trial: Mapped[int | None]
    text: Mapped[str] = mapped_column(long_text())


EVENTS = Cells(table(EventRow), ("uuid",), ("study", "run", "moment", "kind", "trial", "text"))


@dataclass(frozen=True)
class EventRecord:
    """One event. run: the id of the run whose it is, None for one of no run. trial: a number."""

    id: int
    run: int | None
    moment: datetime
    kind: str
    trial: int | None
    text: str


def event_row(study: int, run: int | None, kind: str, text: str, trial: int | None, now: datetime) -> Row:
    """One event as a row. kind: one word such as `launched`; text: a sentence, in which passwords are masked."""
    return {
        "uuid": str(uuid.uuid4()),
        "study": study,
        "run": run,
        "moment": now,
        "kind": plain(kind, 64),
        "trial": trial,
        "text": plain(text),
    }


def write(connection: sa.Connection, row: Row) -> None:
    """Add an event; one of the same UUID is not added twice."""
    connection.execute(upsert(EVENTS, connection.dialect.name), row)


def read(connection: sa.Connection, study: int, after: int = 0) -> list[EventRecord]:
    """Those of a study whose id is greater than `after`, in the order in which they were committed first."""
    columns = [EventRow.id, EventRow.run, EventRow.moment, EventRow.kind, EventRow.trial, EventRow.text]
    query = sa.select(*columns).where(EventRow.study == study, EventRow.id > after).order_by(EventRow.id)
    return [EventRecord(**row._mapping) for row in connection.execute(query)]
