"""How fast packs of trials were against single ones: of the whole database, since studies come and go.

One row a key, which says what was measured, on what, with what; this room reads nothing in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hpo.storage.own.base import Base, table, words
from hpo.storage.tables import Cells, check_key, upsert


class SpeedRow(Base):
    """What was measured last under a key. `version`: of the hpo that did, as far as its speed hangs on it."""

    __tablename__ = "hpo_pack_speeds"

    key: Mapped[str] = mapped_column(words(512), primary_key=True)
    solo: Mapped[float]
    pack: Mapped[float]
    members: Mapped[int]
    most: Mapped[int | None]
    version: Mapped[str] = mapped_column(words(64))
    measured: Mapped[datetime]


SPEEDS = Cells(table(SpeedRow), ("key",), ("solo", "pack", "members", "most", "version", "measured"))


@dataclass(frozen=True)
class PackSpeed:
    """Steps a second of a single trial, and of all members of a pack together.

    members: of the pack that was measured, at most. most: how many fit in memory, None where no pack ran out of it.
    """

    key: str
    solo: float
    pack: float
    members: int
    most: int | None
    measured: datetime


_FIND = sa.select(SpeedRow.key, SpeedRow.solo, SpeedRow.pack, SpeedRow.members, SpeedRow.most, SpeedRow.measured)
_FIND = _FIND.where(
    SpeedRow.key == sa.bindparam("wanted"),
    SpeedRow.version == sa.bindparam("by"),
    SpeedRow.measured >= sa.bindparam("since"),
)


def find(connection: sa.Connection, key: str, version: str, since: datetime) -> PackSpeed | None:
    """What this version of hpo measured under a key, unless it was before `since`."""
    row = connection.execute(_FIND, {"wanted": key, "by": version, "since": since}).one_or_none()
    return None if row is None else PackSpeed(**row._mapping)


def write(connection: sa.Connection, speed: PackSpeed, version: str) -> None:
    """Keep it in the place of what was known. Raises ValueError for a key that no database could hold."""
    check_key(speed.key)
    connection.execute(upsert(SPEEDS, connection.dialect.name), {**asdict(speed), "version": version})
