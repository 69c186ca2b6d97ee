"""Work done inside a writer's transaction besides its batch: a study or a trial made, a study deleted."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.storage import loader
from hpo.storage.batch import Batch
from hpo.storage.dialects import Dialect
from hpo.storage.memory import StudyMemory, evolve
from hpo.storage.own import studies
from hpo.storage.own.studies import StudyRow
from hpo.storage.tables import (
    DIRECTIONS,
    HEARTBEATS,
    OF_STUDIES,
    OF_TRIALS,
    PARAMS,
    REPORTS,
    STUDIES,
    STUDY_USER,
    TRIAL_SYSTEM,
    TRIAL_USER,
    TRIALS,
    VALUES,
    Cells,
    Row,
    attr_row,
    param_row,
    report_row,
    trial_row,
    value_row,
)

# built once: building a statement takes as long as running it
_LOCK_STUDY = sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == sa.bindparam("study")).with_for_update()
_NEWER = (
    sa.select(TRIALS.c.trial_id)
    .where(TRIALS.c.study_id == sa.bindparam("study"), TRIALS.c.trial_id > sa.bindparam("last"))
    .order_by(TRIALS.c.trial_id)  # without it PostgreSQL looks at all trials of the study
    .limit(1)
)
_INSERT = sa.insert(TRIALS)


def insert_study(
    connection: sa.Connection, name: str, directions: Sequence[StudyDirection], attrs: Mapping[str, Any]
) -> int:
    """Make a study with its user attributes; gives its id. Raises DuplicatedStudyError."""
    if connection.execute(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == name)).scalar() is not None:
        raise DuplicatedStudyError(f"Another study with name '{name}' already exists.")
    study_id = _id_of(connection.execute(sa.insert(STUDIES).values(study_name=name)))
    connection.execute(
        sa.insert(DIRECTIONS),
        [{"study_id": study_id, "objective": n, "direction": direction} for n, direction in enumerate(directions)],
    )
    if attrs:
        rows = [attr_row(STUDY_USER, study_id, key, value) for key, value in attrs.items()]
        connection.execute(sa.insert(STUDY_USER.table), rows)
    return study_id


def delete_study(connection: sa.Connection, study_id: int) -> None:
    """Delete a study and every row that hangs on it, the own ones too. Raises KeyError.

    SQLite enforces no foreign keys and gives ids away again: a row left behind would turn up in another study.
    """
    if sa.inspect(connection).has_table(StudyRow.__tablename__):
        studies.remove(connection, study_id)
    trials = sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id)
    for table in (*(cells.table for cells in OF_TRIALS), HEARTBEATS):
        connection.execute(sa.delete(table).where(table.c.trial_id.in_(trials)))
    for table in (TRIALS, *(cells.table for cells in OF_STUDIES), DIRECTIONS):
        connection.execute(sa.delete(table).where(table.c.study_id == study_id))
    if connection.execute(sa.delete(STUDIES).where(STUDIES.c.study_id == study_id)).rowcount != 1:
        raise KeyError(f"No study with study_id {study_id} exists.")


@dataclass(frozen=True)
class Inserted:
    """A trial that got its id and number, the trials others had made before it, and its rows."""

    trial: FrozenTrial
    others: list[FrozenTrial]
    rows: Batch


class NewTrial:
    """The making of one trial, from a template or RUNNING and empty.

    Everything of the template is checked here, before a transaction begins; raises ValueError or TypeError as the rows
    of `tables.py` do, and ValueError for a distribution that does not fit the study's.
    """

    def __init__(self, study: StudyMemory, template: FrozenTrial | None, now: datetime, dialect: Dialect) -> None:
        self.study = study
        self._draft = _empty(study.moment(now)) if template is None else _copy(template, study)
        self._tried: int | None = None
        self._cells = list(_cells(self._draft, -1))
        for _, cell in self._cells:
            dialect.check(cell)
        if not study.exact:
            for keyed in (self._draft.params, self._draft.user_attrs, self._draft.system_attrs):
                for key in keyed:
                    study.check_key(key, keyed.keys() - {key})
        for name, distribution in self._draft.distributions.items():
            study.check_distribution(name, distribution)

    def insert(self, connection: sa.Connection, retried: bool) -> Inserted:
        """Its number is the count of the study's trials, taken under a lock on the study as Optuna takes it.

        retried: an attempt before this one may have been committed; its row is then found and taken for ours.
        Raises KeyError for a study that is gone.
        """
        study = self.study
        if connection.execute(_LOCK_STUDY, {"study": study.id}).scalar() is None:
            raise KeyError(f"No study with study_id {study.id} exists.")
        others: list[FrozenTrial] = []
        if connection.execute(_NEWER, {"study": study.id, "last": study.last_id}).scalar() is not None:
            others = loader.trials_of_study(connection, study.id, after=study.last_id)
        if retried:
            for n, other in enumerate(others):
                if other._trial_id == self._tried and _same(other, self._draft):
                    return Inserted(other, others[:n] + others[n + 1 :], Batch())
        draft, number = self._draft, len(study.trials) + len(others)
        row = trial_row(study.id, number, draft.state, draft.datetime_start, draft.datetime_complete)
        # an answer can only be lost to the commit, and an id is not given again
        self._tried = trial_id = _id_of(connection.execute(_INSERT, row))
        rows = Batch()
        rows.trials[trial_id] = row
        rows.put_all((cells, {**cell, "trial_id": trial_id}) for cells, cell in self._cells)
        for cells, by_key in rows.cells.items():
            connection.execute(sa.insert(cells.table), list(by_key.values()))
        trial = evolve(draft)
        trial.number, trial._trial_id = number, trial_id
        return Inserted(trial, others, rows)


def _id_of(inserted: sa.CursorResult[Any]) -> int:
    key = inserted.inserted_primary_key
    assert key is not None
    return int(key[0])


def _empty(now: datetime) -> FrozenTrial:
    return FrozenTrial(
        number=-1,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=now,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=-1,
    )


def _copy(template: FrozenTrial, study: StudyMemory) -> FrozenTrial:
    """The template as the database will give it back."""
    draft = copy.deepcopy(template)
    draft.user_attrs = json.loads(json.dumps(draft.user_attrs))
    draft.system_attrs = json.loads(json.dumps(draft.system_attrs))
    if draft.values is not None:
        draft.values = [float(value) for value in draft.values]
    for name in ("datetime_start", "datetime_complete"):
        moment = getattr(draft, name)
        setattr(draft, name, None if moment is None else study.moment(moment))
    draft.intermediate_values = {int(step): float(value) for step, value in draft.intermediate_values.items()}
    return draft


def _cells(trial: FrozenTrial, trial_id: int) -> list[tuple[Cells, Row]]:
    rows: list[tuple[Cells, Row]] = []
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        rows.append((PARAMS, param_row(trial_id, name, distribution.to_internal_repr(value), distribution)))
    rows += [(REPORTS, report_row(trial_id, step, value)) for step, value in trial.intermediate_values.items()]
    rows += [(VALUES, value_row(trial_id, n, value)) for n, value in enumerate(trial.values or [])]
    rows += [(TRIAL_USER, attr_row(TRIAL_USER, trial_id, *item)) for item in trial.user_attrs.items()]
    rows += [(TRIAL_SYSTEM, attr_row(TRIAL_SYSTEM, trial_id, *item)) for item in trial.system_attrs.items()]
    return rows


def _same(stored: FrozenTrial, draft: FrozenTrial) -> bool:
    """Whether a stored trial is the draft."""
    names = ("state", "datetime_start", "datetime_complete", "params", "user_attrs", "system_attrs", "values")
    return all(getattr(stored, name) == getattr(draft, name) for name in names)
