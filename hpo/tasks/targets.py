"""What a task is to predict, from the values a user has: classes, or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hpo.errors import UserError
from hpo.tasks.splits import standardized
from hpo.tasks.task import Task

Array = np.ndarray[Any, Any]
Kind = Literal["auto", "classification", "regression"]

FEW = 20
"""Whole numbers of at most so many different values are taken for classes."""


@dataclass(frozen=True)
class Targets:
    """values: (N,) classes from 0 as int64, or numbers as float64. names: of the classes; empty for numbers."""

    values: Array
    names: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Which class is which, where that is not plain."""
        if len(self.names) > FEW or list(self.names) == [str(one) for one in range(len(self.names))]:
            return ()
        return (f"classes: {', '.join(f'{i} is {name!r}' for i, name in enumerate(self.names))}",)


def targets(values_N: Array, kind: Kind, key: str, what: str) -> Targets:
    """Classes or numbers, as `kind` says; `auto`: texts, and whole numbers of at most `FEW` values, are classes.

    values_N: float64 or objects that are texts, none of them empty. key, what: begin the sentences, as in
    `task.target: column 'y'`. Raises UserError for one value alone, for infinity, and for texts where numbers are
    asked for.
    """
    texts = values_N.dtype == object
    if not texts and not np.isfinite(values_N).all():
        raise UserError(f"{key}: {what} holds infinity; a target is a number or a class")
    distinct = sorted(set(values_N)) if texts else np.unique(values_N).tolist()
    whole = not texts and all(float(one).is_integer() for one in distinct)
    if len(distinct) == 1:
        raise UserError(
            f"{key}: {what} is {_plain(distinct[0])!r} in all {len(values_N)} rows; one class or value only leaves "
            "nothing to learn"
        )
    if kind == "regression" and texts:
        raise UserError(f"{key}: {what} holds texts such as {distinct[0]!r}; regression needs numbers")
    if kind == "classification" or (kind == "auto" and (texts or (whole and len(distinct) <= FEW))):
        if not texts and not whole:
            raise UserError(f"{key}: {what} holds fractions such as {_fraction(distinct)}; classes are texts or whole")
        number = {one: i for i, one in enumerate(distinct)}
        y_N = np.array([number[one] for one in values_N.tolist()], dtype=np.int64)
        return Targets(y_N, tuple(str(_plain(one)) for one in distinct))
    return Targets(values_N.astype(np.float64))


def task_of(xs: Sequence[Array], goals: Targets, parts: Sequence[Array], notes: Sequence[str] = ()) -> Task:
    """The task of inputs for train, val and, if there is one, test, and the targets at the indices `parts` of each.

    Numbers are standardized by the training targets. Its loss and metrics are those that suit the targets.
    """
    ys: Sequence[Array] = [goals.values[part] for part in parts]
    if goals.names:
        loss, metrics = "cross_entropy", ("accuracy", "f1", *(["roc_auc"] if len(goals.names) == 2 else []))
    else:
        loss, metrics = "mse", ("r2", "rmse", "mae")
        notes = (f"targets are standardized: 1 in mae and rmse is {ys[0].std():.6g} of theirs", *notes)
        ys = standardized(*ys)
    train, val, *test = zip(xs, ys, strict=True)
    return Task(train, val, test[0] if test else None, loss=loss, metrics=metrics, notes=(*goals.notes, *notes))


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _fraction(values: Sequence[float]) -> float:
    return next(one for one in values if not float(one).is_integer())
