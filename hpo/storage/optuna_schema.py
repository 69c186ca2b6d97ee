"""Whose tables are in the database: made by Optuna where there are none, refused where its version cannot use them."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import optuna
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb import storage as optuna_rdb

from hpo.errors import UserError
from hpo.storage import migrations
from hpo.storage.dialects import BUSY_SECONDS
from hpo.storage.engine import engine_options, explain, prepare_sqlite
from hpo.storage.own import leases
from hpo.storage.own.leases import Lease
from hpo.storage.place import Place
from hpo.storage.tables import STUDIES

R = TypeVar("R")
log = logging.getLogger("hpo.storage")

_HEADS = {"5.0.0": "v3.2.0.a"}
"""The newest schema of an Optuna: what `_revisions` finds after half a second of loading Alembic."""
_BEFORE_ALEMBIC = "before v0.9.0.a"
# another process may have made the tables and not yet said which they are
_STAMPING_SECONDS = 2.0
# SQLite answers a switch of the journal mode, and a reader that begins to write, with `locked` at once
_RACED = ("already exists", "unique", "duplicate", "database is locked")


@dataclass(frozen=True)
class Stored:
    """What a look into a database tells: the revision of Optuna's schema, and the studies in order of creation."""

    revision: str
    study_names: list[str]


def look_into(place: Place) -> Stored | None:
    """None without Optuna's tables. Creates and changes nothing, not even a file's journal mode.

    Raises UserError when the database cannot be reached or read.
    """
    if not place.exists:
        return None
    engine = sa.create_engine(place.url, poolclass=sa.NullPool, **engine_options(place))
    try:
        with engine.connect() as connection:
            tables = sa.inspect(connection).get_table_names()
            if STUDIES.name not in tables:
                return None
            names = connection.execute(sa.select(STUDIES.c.study_name).order_by(STUDIES.c.study_id)).scalars().all()
            revision = None
            if "alembic_version" in tables:
                revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            return Stored(str(revision or _BEFORE_ALEMBIC), list(names))
    except sa.exc.DBAPIError as error:
        raise explain(error, place) from None
    finally:
        engine.dispose()


def prepare_database(place: Place, known: frozenset[str], lease: Lease | None = None) -> RDBStorage | None:
    """Make file and tables where there are none, Optuna's and then ours.

    None when Optuna's schema is `known`, else Optuna's own storage for it, whose transactions look at the lease.
    Raises UserError when the database cannot be reached or written, and for a schema the installed Optuna cannot use.
    """
    stored = look_into(place)
    gives_up = time.monotonic() + _STAMPING_SECONDS
    while stored is not None and stored.revision == _BEFORE_ALEMBIC and time.monotonic() < gives_up:
        time.sleep(0.1)
        stored = look_into(place)
    if stored is not None:
        _check_usable(stored.revision, place)
        if stored.revision in known:  # nothing to be made, and Optuna's own storage takes ten times as long to open
            _tried_while_raced(place, lambda: _prepare_file(place))
            return None
    if stored is None:
        _make_exact_tables(place)
    rdb = _optunas_own(place)
    if stored is None:
        migrations.upgrade(place)
    revision = rdb.get_current_version()
    if revision not in known:
        log.warning(
            "%s has Optuna's schema %s, which hpo does not know (%s): Optuna itself writes, about 30 times slower",
            place,
            revision,
            ", ".join(sorted(known)),
        )
        if lease is not None:
            # under the locks that a transaction has when it ends, nobody can take the study before it is committed
            sa.event.listen(rdb.engine, "commit", lambda connection: leases.check(connection, lease))
        return rdb
    rdb.engine.dispose()
    return None


def _check_usable(schema: str, place: Place) -> None:
    """Before Optuna is let in: it would add tables to an old database, and only then refuse it."""
    if schema == _HEADS.get(optuna.__version__):
        return
    head, known = _revisions()
    if schema == head:
        return
    if schema == _BEFORE_ALEMBIC or schema in known:
        raise UserError(
            f"storage: {place} was made by an older Optuna (schema {schema}); "
            "run `optuna storage upgrade --storage URL` once"
        )
    raise UserError(f"storage: {place} was made by a newer Optuna (schema {schema}); pip install -U optuna")


@functools.cache
def _revisions() -> tuple[str | None, frozenset[str]]:
    """The newest revision of the installed Optuna's schema, and all. Alembic reads a file for each, every time."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(optuna_rdb.__file__).parent / "alembic"))
    return scripts.get_current_head(), frozenset(script.revision for script in scripts.walk_revisions())


def _make_exact_tables(place: Place) -> None:
    """Optuna's tables as Optuna makes them, but that they keep keys to the letter and moments to the microsecond."""
    if place.dialect.exact:
        return
    engine = place.dialect.looker(place.url)
    exact = sa.MetaData()
    try:
        with engine.connect() as connection:
            for table in models.BaseModel.metadata.sorted_tables:
                place.dialect.make_exact(table.to_metadata(exact), connection)
        _tried_while_raced(place, lambda: exact.create_all(engine))
    except sa.exc.DBAPIError as error:
        raise explain(error, place) from None
    finally:
        engine.dispose()


def _optunas_own(place: Place) -> RDBStorage:
    """RDBStorage, which makes the tables where there are none."""
    url = place.url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")

    def make() -> RDBStorage:
        _prepare_file(place)
        return RDBStorage(url, engine_kwargs=engine_options(place))

    return _tried_while_raced(place, make)


def _prepare_file(place: Place) -> None:
    if place.file is not None:
        prepare_sqlite(place)


def _tried_while_raced(place: Place, make: Callable[[], R]) -> R:
    """Two processes that make tables at once get into each other's way: both try again."""
    gives_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return make()
        except (sa.exc.DBAPIError, StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            if not isinstance(cause, sa.exc.DBAPIError):
                raise
            raced = any(word in str(cause.orig).lower() for word in _RACED)
            if not raced or time.monotonic() > gives_up:
                raise explain(cause, place) from None
            time.sleep(0.1)
