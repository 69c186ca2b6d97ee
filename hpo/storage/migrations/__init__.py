"""The own tables' schema and its history, kept by Alembic under a version table of its own.

Optuna's tables and Optuna's `alembic_version` are never looked at here: `optuna storage upgrade` works beside this.
Alembic itself takes a third of a second to load, so only what makes or compares tables does.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hpo.errors import UserError
from hpo.storage.dialects import dialect_of
from hpo.storage.engine import explain, transaction, writing_engine
from hpo.storage.own import events, exports, leases, metrics, runs, speeds, studies, sweeps
from hpo.storage.own.base import Base
from hpo.storage.place import Place

PARTS = (studies, sweeps, runs, leases, metrics, exports, events, speeds)
"""The modules whose tables these are."""

_PREFIX = "hpo_"
_VERSION_TABLE = "hpo_alembic_version"
# a revision's `op` is one for the whole process
_ALEMBIC = threading.Lock()


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or (name or "").startswith(_PREFIX)


OPTIONS: dict[str, Any] = {
    "target_metadata": Base.metadata,
    "version_table": _VERSION_TABLE,
    "include_name": _is_ours,
    "compare_type": True,
}
"""How Alembic is set up for the own tables."""

HERE = Path(__file__).parent
"""Where the revisions lie."""


def head() -> str:
    """The revision of the tables that this hpo works with: files are named after theirs, `r0001_own_tables.py`."""
    return max(path.name[1:5] for path in (HERE / "versions").glob("r[0-9]*.py"))


def current(place: Place) -> str | None:
    """The revision of the own tables at a place; None where there are none. Creates nothing.

    Raises UserError when the database cannot be reached or read.
    """
    if not place.exists:
        return None
    engine = place.dialect.looker(place.url)
    try:
        with engine.connect() as connection:
            return revision(connection)
    except sa.exc.DBAPIError as error:
        raise explain(error, place) from None
    finally:
        engine.dispose()


def revision(connection: sa.Connection) -> str | None:
    """As `current`, over a connection."""
    if not sa.inspect(connection).has_table(_VERSION_TABLE):
        return None
    found: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {_VERSION_TABLE}").scalar()
    return found


def check_usable(found: str, place: Place) -> None:
    """Raise UserError when the own tables are not of the revision that this hpo works with."""
    wanted = head()
    if found == wanted:
        return
    if _is_known(found):
        raise UserError(
            f"storage: the tables of hpo in {place} are of revision {found}, this hpo works with {wanted}; "
            "run `hpo db upgrade` once, while nothing runs"
        )
    raise _newer(found, place)


def _is_known(found: str) -> bool:
    from alembic.script import ScriptDirectory

    return found in {script.revision for script in ScriptDirectory(str(HERE)).walk_revisions()}


def _newer(found: str, place: Place) -> UserError:
    wanted = head()
    return UserError(
        f"storage: the tables of hpo in {place} were made by a newer hpo (revision {found}, this one knows {wanted}); "
        "pip install -U hpo"
    )


def upgrade(place: Place) -> str:
    """Bring the own tables to the newest revision, make them where there are none; gives the revision.

    Processes that do so at once wait for each other. Expects Optuna's tables to be there.
    Raises UserError when the database cannot be reached or written, or was upgraded by a newer hpo.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    engine = writing_engine(place)
    try:
        with _ALEMBIC, transaction(engine, durable=True) as connection:
            dialect_of(connection).hold_schema(connection)
            found = revision(connection)
            if found is not None and not _is_known(found):
                raise _newer(found, place)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            dialect_of(connection).let_schema_go(connection)
    except sa.exc.DBAPIError as error:
        raise explain(error, place) from None
    finally:
        engine.dispose()
    return head()


def check(place: Place) -> list[str]:
    """How the own tables at a place differ from what this hpo would make, a line a difference; creates nothing.

    Raises UserError when there are none, or of another revision, and when the database cannot be reached.
    """
    found = current(place)
    if found is None:
        raise UserError(f"storage: {place} has no tables of hpo; the first launch makes them, or `hpo db upgrade`")
    check_usable(found, place)
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = place.dialect.looker(place.url)
    try:
        with engine.connect() as connection:
            differences = compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), Base.metadata)
        return [_in_words(difference) for difference in differences]
    except sa.exc.DBAPIError as error:
        raise explain(error, place) from None
    finally:
        engine.dispose()


def _in_words(difference: Any) -> str:
    """One of Alembic's tuples, or a list of them for one column, as a line."""
    if isinstance(difference, list):
        return "; ".join(map(_in_words, difference))
    kind, *about = difference
    return f"{kind.replace('_', ' ')}: " + ", ".join(str(part) for part in about if part is not None)
