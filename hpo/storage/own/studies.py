"""Which own rows belong to a study of Optuna's: those of the UUID that is kept in one of its user attributes.

Not those of its row id, which SQLite gives away again once the study is deleted.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hpo.storage.own.base import Base, table, words
from hpo.storage.tables import STUDIES, STUDY_USER, attr_row

IDENTITY = "hpo:id"
"""The study's user attribute that holds its UUID."""


class StudyRow(Base):
    """A study that own rows hang on. `name` is for people who look into the table."""

    __tablename__ = "hpo_studies"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(words(36), unique=True)
    name: Mapped[str] = mapped_column(words(512))
    created: Mapped[datetime]


def identity(connection: sa.Connection, optuna_id: int) -> str | None:
    """The UUID of one of Optuna's studies; None when it has none of its own.

    Optuna copies a study with all its attributes: of two with one UUID it belongs to the older.
    """
    attrs = STUDY_USER.table
    query = sa.select(attrs.c.study_id, attrs.c.value_json).where(attrs.c.key == IDENTITY)
    first: dict[str, int] = {}
    for study_id, text in connection.execute(query.order_by(attrs.c.study_id)):
        first.setdefault(str(json.loads(text)), study_id)
    return next((found for found, study_id in first.items() if study_id == optuna_id), None)


def find(connection: sa.Connection, optuna_id: int) -> int | None:
    """The id in `hpo_studies` of one of Optuna's studies; None when no own row was ever written for it."""
    found = identity(connection, optuna_id)
    return None if found is None else connection.scalar(sa.select(StudyRow.id).where(StudyRow.uuid == found))


def register(connection: sa.Connection, optuna_id: int, name: str, now: datetime) -> tuple[int, str]:
    """The id in `hpo_studies` and the UUID of one of Optuna's studies, each made where it is missing.

    Processes that do so at once wait for each other, and all get the first one's.
    """
    found = identity(connection, optuna_id)
    study = None if found is None else connection.scalar(sa.select(StudyRow.id).where(StudyRow.uuid == found))
    if found is not None and study is not None:
        return int(study), found
    # what was just seen to be missing may have been made since: it is looked at again under a lock
    connection.execute(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == optuna_id).with_for_update())
    found = identity(connection, optuna_id)
    if found is None:
        attrs, found = STUDY_USER.table, str(uuid.uuid4())
        connection.execute(sa.delete(attrs).where(attrs.c.study_id == optuna_id, attrs.c.key == IDENTITY))
        connection.execute(sa.insert(attrs), attr_row(STUDY_USER, optuna_id, IDENTITY, found))
    study = connection.scalar(sa.select(StudyRow.id).where(StudyRow.uuid == found))
    if study is None:
        forget_deleted(connection)
        row = {"uuid": found, "name": name, "created": now}
        study = connection.execute(sa.insert(table(StudyRow)), row).inserted_primary_key[0]  # type: ignore[index]
    return int(study), found


def remove(connection: sa.Connection, optuna_id: int) -> None:
    """Delete every own row of one of Optuna's studies."""
    study = find(connection, optuna_id)
    if study is not None:
        _delete(connection, study)


def forget_deleted(connection: sa.Connection) -> None:
    """Delete the own rows of studies that others deleted, such as Optuna's dashboard, which know nothing of ours."""
    attrs = STUDY_USER.table
    # before the attributes: a study that is registered between the two looks must not be missing in the second
    known = connection.execute(sa.select(StudyRow.id, StudyRow.uuid)).all()
    alive = {
        json.loads(text) for text in connection.scalars(sa.select(attrs.c.value_json).where(attrs.c.key == IDENTITY))
    }
    for study, uuid_of in known:
        if uuid_of not in alive:
            _delete(connection, study)


def _delete(connection: sa.Connection, study: int) -> None:
    """SQLite enforces no foreign keys: nothing goes by itself."""
    for of_study in reversed(Base.metadata.sorted_tables):
        column = of_study.c.id if of_study is table(StudyRow) else of_study.c.get("study")
        if column is not None:  # else its rows are of no study
            connection.execute(sa.delete(of_study).where(column == study))
