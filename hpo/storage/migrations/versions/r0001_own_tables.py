"""The first own tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")
_EXACT = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}
_NUMBERED = {"sqlite_autoincrement": True, "if_not_exists": True}


def _words(length: int) -> sa.String:
    return sa.String(length).with_variant(mysql.VARCHAR(length, **_EXACT), *_MYSQL)


def _text() -> sa.Text:
    return sa.Text().with_variant(mysql.LONGTEXT(**_EXACT), *_MYSQL)


def _moment() -> sa.DateTime:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL)


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Integer, nullable=False, autoincrement=True)


def _integer(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=nullable, autoincrement=False)


def _column(name: str, kind: sa.types.TypeEngine[Any], nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=f"fk_{table}__{column}")


def _holder() -> list[sa.Column[Any]]:
    return [
        _column("host", _words(255)),
        _integer("pid"),
        _column("process_started", sa.Double()),
        _column("address", _words(255)),
    ]


def upgrade() -> None:
    """Make the tables. What is there already is left: MySQL keeps the first tables of an upgrade that was killed."""
    _studies_and_sweeps()
    _runs_and_leases()
    _what_trials_and_runs_leave()


def _studies_and_sweeps() -> None:
    op.create_table(
        "hpo_studies",
        _id(),
        _column("uuid", _words(36)),
        _column("name", _words(512)),
        _column("created", _moment()),
        sa.PrimaryKeyConstraint("id", name="pk_hpo_studies"),
        sa.UniqueConstraint("uuid", name="uq_hpo_studies__uuid"),
        **_NUMBERED,
    )
    op.create_table(
        "hpo_sweeps",
        _id(),
        _integer("study"),
        _column("spec", _text()),
        _column("digest", _words(64)),
        _column("created", _moment()),
        _column("created_by", _words(255)),
        sa.PrimaryKeyConstraint("id", name="pk_hpo_sweeps"),
        _refers("hpo_sweeps", "study", "hpo_studies"),
        **_NUMBERED,
    )
    op.create_index("ix_hpo_sweeps__study", "hpo_sweeps", ["study"], if_not_exists=True)


def _runs_and_leases() -> None:
    op.create_table(
        "hpo_runs",
        _id(),
        _integer("study"),
        _integer("sweep", nullable=True),
        _integer("fencing"),
        *_holder(),
        _column("versions", _text()),
        _column("git_commit", _words(64), nullable=True),
        _column("started", _moment()),
        _column("heartbeat", _moment()),
        _column("seconds", sa.Double()),
        _column("ended", _moment(), nullable=True),
        _column("reason", _text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_hpo_runs"),
        _refers("hpo_runs", "study", "hpo_studies"),
        _refers("hpo_runs", "sweep", "hpo_sweeps"),
        **_NUMBERED,
    )
    op.create_index("ix_hpo_runs__study", "hpo_runs", ["study"], if_not_exists=True)
    op.create_table(
        "hpo_leases",
        _integer("study"),
        _integer("fencing"),
        _integer("beat"),
        _integer("run"),
        *_holder(),
        _column("since", _moment()),
        _column("released", _moment(), nullable=True),
        sa.PrimaryKeyConstraint("study", name="pk_hpo_leases"),
        _refers("hpo_leases", "study", "hpo_studies"),
        _refers("hpo_leases", "run", "hpo_runs"),
        if_not_exists=True,
    )


def _what_trials_and_runs_leave() -> None:
    op.create_table(
        "hpo_metrics",
        _integer("study"),
        _integer("trial"),
        _integer("step"),
        _column("name", _words(512)),
        _column("value", sa.Double(), nullable=True),
        _column("not_finite", _words(4), nullable=True),
        sa.PrimaryKeyConstraint("study", "trial", "step", "name", name="pk_hpo_metrics"),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "hpo_exports",
        _id(),
        _integer("study"),
        _integer("trial"),
        _column("path", _text()),
        _column("digest", _words(128)),
        _column("created", _moment()),
        _column("created_by", _words(255)),
        sa.PrimaryKeyConstraint("id", name="pk_hpo_exports"),
        _refers("hpo_exports", "study", "hpo_studies"),
        **_NUMBERED,
    )
    op.create_index("ix_hpo_exports__study", "hpo_exports", ["study"], if_not_exists=True)
    op.create_table(
        "hpo_events",
        _id(),
        _column("uuid", _words(36)),
        _integer("study"),
        _integer("run", nullable=True),
        _column("moment", _moment()),
        _column("kind", _words(64)),
        _integer("trial", nullable=True),
        _column("text", _text()),
        sa.PrimaryKeyConstraint("id", name="pk_hpo_events"),
        sa.UniqueConstraint("uuid", name="uq_hpo_events__uuid"),
        **_NUMBERED,
    )
    op.create_index("ix_hpo_events__study", "hpo_events", ["study"], if_not_exists=True)
