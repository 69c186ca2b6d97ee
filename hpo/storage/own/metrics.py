"""Everything that trials report besides the objective: one row a trial, step and name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hpo.storage.own.base import Base, table, words
from hpo.storage.tables import Cells, Row, check_key, check_step

Curves = dict[int, dict[str, dict[int, float]]]
"""Values by trial number, by name, by step."""

_CHUNK = 500


class MetricRow(Base):
    """One value. `value` is NULL where `not_finite` holds the word for it, which not every database's numbers can.

    No foreign key: a row of it is the most written of all, and its study's id is never given away again.
    """

    __tablename__ = "hpo_metrics"
    __table_args__ = {"sqlite_with_rowid": False}  # one tree to write instead of two

    study: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trial: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(words(512), primary_key=True)
    value: Mapped[float | None]
    not_finite: Mapped[str | None] = mapped_column(words(4))


METRICS = Cells(table(MetricRow), ("study", "trial", "step", "name"), ("value", "not_finite"))


def metric_row(study: int, trial: int, step: int, name: str, value: float) -> Row:
    """One value as a row; NaN and infinities are kept. Raises ValueError for what the database could not hold."""
    number = float(value)
    finite = math.isfinite(number)
    return {
        "study": study,
        "trial": trial,
        "step": check_step(step),
        "name": check_key(name),
        "value": number if finite else None,
        "not_finite": None if finite else str(number),
    }


def read(connection: sa.Connection, study: int, trials: Iterable[int] | None = None) -> Curves:
    """What these trials reported, of all when None; in order of trial number and step."""
    found: Curves = {}
    for chunk in _chunks(trials):
        query = sa.select(*(table(MetricRow).columns[n] for n in ("trial", "name", "step", "value", "not_finite")))
        query = query.where(MetricRow.study == study, *([] if chunk is None else [MetricRow.trial.in_(chunk)]))
        for trial, name, step, value, word in connection.execute(
            query.order_by(MetricRow.trial, MetricRow.step, MetricRow.name)
        ):
            curve = found.setdefault(trial, {}).setdefault(name, {})
            curve[step] = float(word) if value is None else value
    return found


def _chunks(trials: Iterable[int] | None) -> Iterator[list[int] | None]:
    """Lists short enough for one statement's parameters; None for no limit."""
    if trials is None:
        yield None
        return
    ordered = sorted(trials)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]
