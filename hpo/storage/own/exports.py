"""Which trials were exported, where to, and by whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hpo.storage.own.base import Base, long_text, plain, table, words


class ExportRow(Base):
    """One written export."""

    __tablename__ = "hpo_exports"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[int] = mapped_column(sa.ForeignKey("hpo_studies.id"), index=True)
    trial: Mapped[int]
    path: Mapped[str] = mapped_column(long_text())
    digest: Mapped[str] = mapped_column(words(128))
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(words(255))


@dataclass(frozen=True)
class ExportRecord:
    """One written export. trial: its number; path: the file as it was then; digest: of what the file holds."""

    id: int
    trial: int
    path: str
    digest: str
    created: datetime
    created_by: str


def add(connection: sa.Connection, study: int, trial: int, path: str, digest: str, by: str, now: datetime) -> None:
    """Note an export."""
    row = {"trial": trial, "path": plain(path), "digest": digest, "created": now, "created_by": plain(by, 255)}
    connection.execute(sa.insert(table(ExportRow)), {"study": study, **row})


def read(connection: sa.Connection, study: int) -> list[ExportRecord]:
    """All of a study, oldest first."""
    columns = [column for column in table(ExportRow).columns if column.name != "study"]
    rows = connection.execute(sa.select(*columns).where(ExportRow.study == study).order_by(ExportRow.id))
    return [ExportRecord(**row._mapping) for row in rows]
