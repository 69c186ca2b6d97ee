"""How fast packs were, by what was measured: a table of its own, tied to no study."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")


def _words(length: int) -> sa.String:
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(exact, *_MYSQL)


def upgrade() -> None:
    """Make the table, unless it is there already: MySQL keeps that of an upgrade that was killed."""
    op.create_table(
        "hpo_pack_speeds",
        sa.Column("key", _words(512), nullable=False),
        sa.Column("solo", sa.Double(), nullable=False),
        sa.Column("pack", sa.Double(), nullable=False),
        sa.Column("members", sa.Integer, nullable=False),
        sa.Column("most", sa.Integer, nullable=True),
        sa.Column("version", _words(64), nullable=False),
        sa.Column("measured", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_hpo_pack_speeds"),
        if_not_exists=True,
    )
