"""Which tables a database has, and bringing our own to the newest form: what `hpo db` does."""

from __future__ import annotations

from dataclasses import dataclass

from hpo.errors import NotFound, UserError
from hpo.storage import migrations
from hpo.storage.optuna_schema import look_into
from hpo.storage.place import Place, check_place, read_url


@dataclass(frozen=True)
class Schemas:
    """Revisions of the tables at a place, None where there are none.

    place: for printing. optuna: of Optuna's. own: of hpo's beside them; newest: the one that this hpo works with.
    """

    place: str
    optuna: str | None
    own: str | None
    newest: str


def schemas(url: str) -> Schemas:
    """What is there. Creates nothing. Raises UserError when the database cannot be reached, NotFound for no file."""
    return _at(_existing(url))


def upgrade(url: str) -> Schemas:
    """Bring hpo's own tables to the newest revision, make them where there are none; what there was before.

    Optuna's tables are left alone. Raises UserError where Optuna has none yet, and as `schemas`.
    """
    place = _existing(url)
    before = _at(place)
    if before.optuna is None:
        raise UserError(f"storage: {place} has no studies yet; the first launch makes all tables")
    migrations.upgrade(place)
    return before


def check(url: str) -> Schemas:
    """What is there, when hpo's own tables are what this hpo would make.

    Raises UserError when they are not, with the first difference and all of them as a hint, and as `schemas`.
    """
    place = _existing(url)
    differences = migrations.check(place)
    if differences:
        raise UserError(
            f"storage: hpo's tables in {place} are not what this hpo would make: {differences[0]}",
            hint="\n".join(differences),
        )
    return _at(place)


def _at(place: Place) -> Schemas:
    """What is at a place that exists."""
    stored = look_into(place)
    revision = None if stored is None else stored.revision
    return Schemas(str(place), revision, migrations.current(place), migrations.head())


def _existing(url: str) -> Place:
    place = read_url(url)
    check_place(place)
    if not place.exists:
        raise NotFound(
            f"no database at {place}", hint="hpo launch makes one; --storage URL or HPO_STORAGE name another"
        )
    return place
