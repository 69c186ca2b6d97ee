"""What the own tables have in common: names of constraints, and types that mean the same in every database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase

from hpo.errors import mask

MYSQL = ("mysql", "mariadb")
"""Names under which SQLAlchemy knows MySQL's dialects."""

_EXACT = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}


class Moment(sa.TypeDecorator[datetime]):
    """An aware moment, kept as naive UTC to the microsecond; a naive one is refused when its row is written."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        # MySQL's own DATETIME ends at seconds
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in MYSQL else sa.DateTime())

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; give datetime.now(UTC)")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC)


def words(length: int) -> sa.String:
    """Text of at most `length` characters, compared letter by letter; MySQL would take `Loss` for `loss`."""
    return sa.String(length).with_variant(mysql.VARCHAR(length, **_EXACT), *MYSQL)


def long_text() -> sa.Text:
    """Text of any length; MySQL's own TEXT ends at 65,535 bytes."""
    return sa.Text().with_variant(mysql.LONGTEXT(**_EXACT), *MYSQL)


class Base(DeclarativeBase):
    """All own tables; every constraint has a name that Alembic can use."""

    metadata = sa.MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s__%(column_0_N_name)s",
            "uq": "uq_%(table_name)s__%(column_0_N_name)s",
            "ix": "ix_%(table_name)s__%(column_0_N_name)s",
        }
    )
    type_annotation_map = {datetime: Moment, float: sa.Double}


def table(row: type[Base]) -> sa.Table:
    """The table of a typed row."""
    found = row.__table__
    assert isinstance(found, sa.Table)
    return found


def plain(text: str, length: int | None = None) -> str:
    """`text` as every database can hold it, without the password of any URL, cut to `length` characters."""
    storable = mask(text).replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    return storable if length is None else storable[:length]
