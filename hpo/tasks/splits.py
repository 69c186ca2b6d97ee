"""Examples shared out to train, val and test by a seed, and numbers scaled by what the training examples show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from hpo.errors import UserError

Array = np.ndarray[Any, Any]
BLOCK = 4096  # examples
Parts = tuple[Array, Array, Array]
"""Indices of the examples that train, validate and test."""


def shared_out(y_N: Array, seed: int, val: float, test: float, names: Sequence[str] | None = None) -> Parts:
    """Indices of examples for train, val and test, in random order; classes in the same shares in all three.

    y_N: integer classes, each of which gets at least one example in each part (that scikit-learn's splits do not
    promise); or floats, which are drawn without looking at them. val, test: shares of all; test may be 0.
    names: of the classes. Raises UserError, beginning with `task`, where there are too few examples.
    """
    if val + test >= 1:
        raise UserError(f"task.val: val {val:g} and test {test:g} leave nothing to train on; together less than 1")
    random = np.random.default_rng(seed)
    if not np.issubdtype(y_N.dtype, np.integer):
        _check_enough(len(y_N), test, "task", "there are")
        groups = [np.arange(len(y_N))]
    else:
        groups = [np.flatnonzero(y_N == one) for one in np.unique(y_N)]
        for group in groups:
            one = int(y_N[group[0]])
            _check_enough(len(group), test, "task", f"class {names[one]!r} has" if names else f"class {one} has")
    parts: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
    for group in groups:
        for part, indices in zip(parts, _cut(random.permutation(group), val, test), strict=True):
            part.append(indices)
    train, validate, tests = (random.permutation(np.concatenate(part)) for part in parts)
    return train, validate, tests


def _check_enough(many: int, test: float, key: str, who: str) -> None:
    needed = 3 if test else 2
    if many < needed:
        plural = "" if many == 1 else "s"
        parts = "train, val and test" if test else "train and val"
        raise UserError(f"{key}: {who} {many} example{plural}, at least {needed} are needed, one each for {parts}")


def _cut(order: Array, val: float, test: float) -> Parts:
    many = len(order)
    tests = max(1, round(test * many)) if test else 0
    validate = max(1, min(round(val * many), many - tests - 1))
    tests = min(tests, many - validate - 1)
    return order[tests + validate :], order[tests : tests + validate], order[:tests]


def standardized(train: Array, *others: Array, axis: tuple[int, ...] = (0,)) -> tuple[Array, ...]:
    """Training examples and others as float32, minus the training examples' mean over `axis`, by their deviation.

    What does not vary in the training examples is divided by 1. Non-finite values stay what they are.
    """
    mean = _mean(train, axis, lambda rows: rows)
    deviation = np.sqrt(_mean(train, axis, lambda rows: np.square(rows - mean)))
    # a constant has a deviation of rounding errors
    deviation[deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))] = 1.0
    found = []
    for values in (train, *others):
        scaled = np.empty(values.shape, np.float32)
        for rows in _blocks(values):
            scaled[rows] = (values[rows] - mean) / deviation
        found.append(scaled)
    return tuple(found)


def _mean(values: Array, axis: tuple[int, ...], change: Callable[[Array], Array]) -> Array:
    """Mean of the changed values in float64, its axes kept."""
    sums = sum(change(values[rows].astype(np.float64)).sum(axis, keepdims=True) for rows in _blocks(values))
    mean: Array = np.asarray(sums) / prod(values.shape[one] for one in axis)
    return mean


def _blocks(values: Array) -> Iterator[slice]:
    """Of rows: all of them as float64 may be more than fits into memory."""
    return (slice(at, at + BLOCK) for at in range(0, len(values), BLOCK))
