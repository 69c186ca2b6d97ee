"""Studies copied from one database to another, of whatever kinds: Optuna's rows as they are stored, and ours.

The copy is the same study at another place, `hpo:id` included: go on with one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from hpo.errors import NotFound, Refused, UserError
from hpo.storage import migrations
from hpo.storage.copied_rows import CopiedStudy, Passage, Progress, own_id
from hpo.storage.engine import explain, transaction, writing_engine
from hpo.storage.optuna_schema import look_into, prepare_database
from hpo.storage.own import leases
from hpo.storage.own_tables import OwnTables
from hpo.storage.place import Place, check_place, read_url
from hpo.storage.tables import KNOWN_SCHEMAS, STUDIES

__all__ = ["CopiedStudy", "Progress", "copy_studies"]


def copy_studies(
    source: str, target: str, study: str | None = None, *, running: bool = False, progress: Progress | None = None
) -> tuple[CopiedStudy, ...]:
    """Copy a study, or all when `study` is None, between SQLite, PostgreSQL and MySQL; gives them in order of creation.

    source, target: URLs as `open_storage` takes them (a password from the environment serves both); the target's tables
    are made where there are none.
    running: copy a study that somebody works on too, as it is at this moment; nobody works on the copy.

    Each study is one transaction at the target: it is there whole, or not at all. All are read in one state of the
    source, which is not changed. What a study has are its directions, attributes, trials (number, state, moments,
    parameters, values, curves, attributes) and own rows (specs, runs, metrics, exports, events). Optuna's heartbeats,
    row ids and checkpoints stay behind, and what was measured of packs, which is no study's.

    Raises NotFound for a missing source or study; Refused for a name that the target has, and for a study that is held
    by a run, dead or alive, unless `running`; UserError for a database that cannot be used, and for a value that the
    target could not hold (MySQL: 65,535 bytes). Nothing of the study is written then.
    """
    origin, goal = _source(source), _target(target)
    with _reading(origin) as old:
        wanted = _wanted(old, origin, study)
        _refuse(old, origin, goal, wanted, running)
        _prepare(goal)
        engine = writing_engine(goal)

        def copy(optuna_id: int, name: str) -> CopiedStudy:
            with _explained(goal, name), transaction(engine, durable=True) as new:
                return Passage(old, new, origin).study(optuna_id, name, progress)

        try:
            return tuple(copy(*found) for found in wanted)
        finally:
            engine.dispose()


def _source(url: str) -> Place:
    place = read_url(url)
    check_place(place)
    stored = look_into(place)
    if stored is None:
        raise NotFound(f"no studies at {place}")
    if stored.revision not in KNOWN_SCHEMAS:
        raise UserError(
            f"storage: {place} has Optuna's schema {stored.revision}, which hpo cannot copy "
            f"({', '.join(sorted(KNOWN_SCHEMAS))})",
            "`optuna storage upgrade --storage URL` brings an older one up to date",
        )
    own = migrations.current(place)
    if own is not None:
        migrations.check_usable(own, place)
    return place


def _target(url: str) -> Place:
    place = read_url(url)
    check_place(place)
    return place


@contextmanager
def _reading(place: Place) -> Iterator[sa.Connection]:
    """One state of the database for the whole block."""
    engine = place.dialect.looker(place.url)
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    except sa.exc.DBAPIError as error:  # those of the target are sentences by now
        raise explain(error, place) from error
    finally:
        engine.dispose()


def _wanted(old: sa.Connection, origin: Place, study: str | None) -> list[tuple[int, str]]:
    """Ids and names, in order of creation."""
    found = old.execute(sa.select(STUDIES.c.study_id, STUDIES.c.study_name).order_by(STUDIES.c.study_id)).all()
    wanted = [(row.study_id, row.study_name) for row in found if study is None or row.study_name == study]
    if study is not None and not wanted:
        raise NotFound(f"study {study!r} does not exist in {origin}")
    return wanted


def _refuse(old: sa.Connection, origin: Place, goal: Place, wanted: list[tuple[int, str]], running: bool) -> None:
    """Before anything is written."""
    there = look_into(goal)
    for optuna_id, name in wanted:
        if there is not None and name in there.study_names:
            raise Refused(f"study {name!r} exists already in {goal}")
        own = own_id(old, optuna_id)
        state = None if own is None else leases.read(old, own)
        if not running and state is not None and state.released is None:
            raise Refused(
                f"study {name!r} in {origin} is being run by {state.holder}",
                "stop it first, or copy it as it is at this moment",
            )


def _prepare(goal: Place) -> None:
    """Make what is missing at the target. Raises UserError where a copy would not be the same."""
    rdb = prepare_database(goal, KNOWN_SCHEMAS)
    if rdb is not None:
        revision = rdb.get_current_version()
        rdb.engine.dispose()
        raise UserError(
            f"storage: {goal} has Optuna's schema {revision}, which hpo does not know; use another database"
        )
    own = OwnTables(goal)
    try:
        own.prepare()
    finally:
        own.close()
    with _reading(goal) as connection:
        if not goal.dialect.is_exact(connection):
            raise UserError(
                f"storage: the tables in {goal} were not made by hpo: they ignore case and fractions of a second; "
                "use a database without tables"
            )


@contextmanager
def _explained(goal: Place, name: str) -> Iterator[None]:
    """Errors of the target as sentences."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"storage: study {name!r} cannot be copied to {goal}: {error}") from None
    except sa.exc.IntegrityError as error:
        there = look_into(goal)
        if there is not None and name in there.study_names:  # made by somebody else since we looked
            raise Refused(f"study {name!r} exists already in {goal}") from error
        raise explain(error, goal) from error
    except sa.exc.DBAPIError as error:
        raise explain(error, goal) from error
