"""Engines by URL, and the one place where a driver's error becomes a sentence."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from hpo.errors import UserError
from hpo.storage.place import Place

BUSY_SECONDS = 30.0
CONNECT_SECONDS = 10


def engine_options(place: Place) -> dict[str, Any]:
    """Keywords of `create_engine`: how long to wait for a lock or a server, and a check of pooled connections."""
    if place.file is not None:
        return {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS}}


def prepare_sqlite(engine: sa.Engine) -> None:
    """Every new connection: write-ahead log, so that readers never wait, and an fsync at checkpoints only."""

    def connected(connection: Any, _record: object) -> None:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise UserError(
                f"storage: this file system cannot hold SQLite's write-ahead log (journal mode {mode!r}); "
                "use a local path or postgresql://user@host/database"
            )
        connection.execute("PRAGMA synchronous=NORMAL")

    sa.event.listen(engine, "connect", connected)


def explain(error: sa.exc.SQLAlchemyError, place: Place) -> UserError:
    """The sentence for a database that could not be opened."""
    cause = str(getattr(error, "orig", None) or error).strip()
    reason = place.clean(cause.splitlines()[0] if cause else type(error).__name__)
    if place.file is None:
        return UserError(f"storage: cannot use {place}: {reason}", "is the server up, and do user and database exist?")
    if "readonly" in reason or "unable to open" in reason:
        return UserError(f"storage: {str(place.file)!r} cannot be written ({reason}); choose a path that can")
    return UserError(f"storage: cannot use {str(place.file)!r}: {reason}")
