"""Optuna's own tables, the schema they are known by, and how one value of a study looks as a row.

Everything that goes into a row is checked here, when it is handed over: a row that the database would refuse later
would take a whole batch with it.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState

from hpo.storage.dialects import DIALECTS

Row = dict[str, Any]

KNOWN_SCHEMAS = frozenset({"v3.2.0.a"})
"""Revisions of Optuna's schema whose tables these are; any other is left to Optuna's own RDBStorage."""

STUDIES: sa.Table = models.StudyModel.__table__
DIRECTIONS: sa.Table = models.StudyDirectionModel.__table__
TRIALS: sa.Table = models.TrialModel.__table__
HEARTBEATS: sa.Table = models.TrialHeartbeatModel.__table__

_LONGEST_KEY = models.MAX_INDEXED_STRING_LENGTH
_LARGEST_STEP = 2**31 - 1


@dataclass(frozen=True)
class Cells:
    """A table of which a row is one changed thing: what names it, and what it holds. The last value wins."""

    table: sa.Table
    keys: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def owner(self) -> str:
        """The column that says whose row it is: `trial_id` or `study_id`."""
        return self.keys[0]


PARAMS = Cells(models.TrialParamModel.__table__, ("trial_id", "param_name"), ("param_value", "distribution_json"))
REPORTS = Cells(
    models.TrialIntermediateValueModel.__table__,
    ("trial_id", "step"),
    ("intermediate_value", "intermediate_value_type"),
)
VALUES = Cells(models.TrialValueModel.__table__, ("trial_id", "objective"), ("value", "value_type"))
TRIAL_USER = Cells(models.TrialUserAttributeModel.__table__, ("trial_id", "key"), ("value_json",))
TRIAL_SYSTEM = Cells(models.TrialSystemAttributeModel.__table__, ("trial_id", "key"), ("value_json",))
STUDY_USER = Cells(models.StudyUserAttributeModel.__table__, ("study_id", "key"), ("value_json",))
STUDY_SYSTEM = Cells(models.StudySystemAttributeModel.__table__, ("study_id", "key"), ("value_json",))

OF_TRIALS = (PARAMS, REPORTS, VALUES, TRIAL_USER, TRIAL_SYSTEM)
OF_STUDIES = (STUDY_USER, STUDY_SYSTEM)


def param_row(trial_id: int, name: str, internal: float, distribution: BaseDistribution) -> Row:
    """One parameter. internal: the distribution's own number for the value (an index for a categorical one)."""
    return {
        "trial_id": trial_id,
        "param_name": check_key(name),
        "param_value": float(internal),
        "distribution_json": distribution_to_json(distribution),
    }


def report_row(trial_id: int, step: int, value: float) -> Row:
    """One intermediate value; NaN and infinities have a column of their own."""
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(float(value))
    return {
        "trial_id": trial_id,
        "step": check_step(step),
        "intermediate_value": stored,
        "intermediate_value_type": kind,
    }


def value_row(trial_id: int, objective: int, value: float) -> Row:
    """One final value. Raises ValueError for NaN, which the schema cannot hold."""
    if math.isnan(value):
        raise ValueError(f"the value of objective {objective} is NaN; a trial without a value is FAIL")
    stored, kind = models.TrialValueModel.value_to_stored_repr(float(value))
    return {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}


def attr_row(cells: Cells, owner: int, key: str, value: Any) -> Row:
    """One attribute. Raises TypeError for a value that JSON cannot hold."""
    return {cells.owner: owner, "key": check_key(key), "value_json": json.dumps(value)}


def trial_row(
    study_id: int, number: int, state: TrialState, start: dt.datetime | None, complete: dt.datetime | None
) -> Row:
    """A trial's own row, without the id that the database gives."""
    return {
        "study_id": study_id,
        "number": number,
        "state": state,
        "datetime_start": to_utc(start),
        "datetime_complete": to_utc(complete),
    }


def check_step(step: int) -> int:
    """`step`, when every database can hold it. Raises ValueError otherwise."""
    if not -_LARGEST_STEP <= step <= _LARGEST_STEP:
        raise ValueError(f"step {step} does not fit the database's 32 bits")
    return int(step)


def check_key(name: str) -> str:
    """`name`, when every database can hold it as a key. Raises ValueError otherwise."""
    name.encode()  # raises UnicodeEncodeError, a ValueError, for half of a surrogate pair
    if len(name) > _LONGEST_KEY or "\0" in name:
        raise ValueError(f"{name[:40]!r}... cannot be a key: at most {_LONGEST_KEY} characters, none of them NUL")
    return name


def to_utc(moment: dt.datetime | None) -> dt.datetime | None:
    """Optuna's tables hold naive UTC, its trials naive local time."""
    return None if moment is None else moment.astimezone(dt.UTC).replace(tzinfo=None)


def to_local(moment: dt.datetime | None) -> dt.datetime | None:
    """The inverse of `to_utc`."""
    return None if moment is None else moment.replace(tzinfo=dt.UTC).astimezone().replace(tzinfo=None)


def upsert(cells: Cells, dialect: str) -> sa.Insert:
    """Insert or overwrite rows of `cells`; one statement for any number of rows. dialect: SQLAlchemy's name."""
    return DIALECTS[dialect].upsert(cells.table, cells.keys, cells.values)
