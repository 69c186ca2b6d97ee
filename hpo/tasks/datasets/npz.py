"""The task `npz`."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from hpo.errors import UserError, unknown_text
from hpo.tasks.content import cannot_read
from hpo.tasks.from_files import FileTask
from hpo.tasks.registries import tasks
from hpo.tasks.splits import shared_out, standardized
from hpo.tasks.tables import rows_text
from hpo.tasks.targets import Kind, Targets, targets, task_of
from hpo.tasks.task import Task

Array = np.ndarray[Any, Any]


@tasks("npz")
class Npz(FileTask):
    """NumPy arrays of yours in one `.npz`: `x` and `y`, or `x_train`, `y_train` and the same of `val` and `test`.

    `x` is (examples, ...) numbers, `y` (examples,) classes or numbers. Without `x_val` some of the training examples
    validate. Inputs are standardized by the training examples: each by itself where an example is a row, otherwise all
    alike.
    """

    kind: Kind = Field(
        "auto", description="auto takes texts, and whole numbers of at most 20 different values, for classes"
    )
    standardize: bool = Field(True, description="inputs minus their mean, by their deviation, in the training examples")
    val: float = Field(0.2, gt=0, lt=1, description="share of the examples that validates, where x_val is not there")
    test: float = Field(0.2, ge=0, lt=1, description="share that tests, where there is x alone; 0: no test split")
    split_seed: int = Field(0, ge=0, description="which train, validate and test; no trial's seed changes it")

    def process(self) -> Task:
        arrays = _arrays(Path(self.path))
        given = "x_train" in arrays or "y_train" in arrays
        more = [f"_{part}" for part in ("val", "test") if f"x_{part}" in arrays]
        names = ["_train", *more] if given else [""]
        if more and not given:
            raise UserError(f"task.path: x{more[0]} stands beside x; call what trains x_train and y_train")
        pairs = [_pair(arrays, name) for name in names]
        _check_alike(dict(zip(names, pairs, strict=True)))
        goals = targets(np.concatenate([y for _, y in pairs]), self.kind, "task.path", f"y{names[0]}")
        xs, parts = self._split(pairs, goals, names)
        if self.standardize:
            axis = (0,) if xs[0].ndim == 2 else tuple(range(xs[0].ndim))
            xs = standardized(*xs, axis=axis)
        return task_of([np.ascontiguousarray(x, np.float32) for x in xs], goals, parts)

    def _split(
        self, pairs: list[tuple[Array, Array]], goals: Targets, names: list[str]
    ) -> tuple[tuple[Array, ...], list[Array]]:
        """Inputs of each part, and where in all targets those of each part are."""
        ends = np.cumsum([len(y) for _, y in pairs])
        ranges = [np.arange(end - len(y), end) for end, (_, y) in zip(ends, pairs, strict=True)]
        if "_val" in names:
            return tuple(x for x, _ in pairs), ranges
        test = 0.0 if names != [""] else self.test
        first = Targets(goals.values[: len(pairs[0][1])], goals.names)
        train, val, tests = shared_out(first.values, self.split_seed, self.val, test, first.names)
        drawn = [train, val, *([tests] if test else [])]
        rest = pairs[1:]
        return (*(pairs[0][0][part] for part in drawn), *(x for x, _ in rest)), [*drawn, *ranges[1:]]


def _arrays(path: Path) -> Mapping[str, Array]:
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise UserError(f"task.path: {path.name} is a single array; np.savez(path, x=..., y=...) writes both")
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise cannot_read(path, error) from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        what = (
            "holds Python objects" if "allow_pickle" in str(error) and zipfile.is_zipfile(path) else "is no .npz file"
        )
        raise UserError(f"task.path: {path.name} {what}; np.savez writes plain arrays") from None


def _pair(arrays: Mapping[str, Array], part: str) -> tuple[Array, Array]:
    found = []
    for name in (f"x{part}", f"y{part}"):
        if name not in arrays:
            raise UserError(f"task.path: {unknown_text('array', name, arrays)}")
        found.append(arrays[name])
    x, y = found
    if x.ndim < 1 or not (np.issubdtype(x.dtype, np.number) or x.dtype == bool) or np.iscomplexobj(x):
        raise UserError(f"task.path: x{part} must hold numbers, one row an example, found {x.dtype} of shape {x.shape}")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise UserError(f"task.path: y{part} must be (examples,), found shape {y.shape}")
    if x.ndim > 1 and not prod(x.shape[1:]):
        raise UserError(f"task.path: the examples of x{part} hold no numbers, its shape is {x.shape}")
    if not len(x):
        raise UserError(f"task.path: x{part} holds no examples")
    if len(x) != len(y):
        raise UserError(f"task.path: x{part} and y{part} must have the same length, found {len(x)} and {len(y)}")
    for name, values in ((f"x{part}", x), (f"y{part}", y)):
        _check_finite(name, values)
    if y.dtype.kind in "US":
        return x, _texts(y, part)
    if y.dtype.kind not in "biuf":
        raise UserError(f"task.path: y{part} must hold classes or numbers, found {y.dtype}")
    return x, y.astype(np.float64)


def _texts(y: Array, part: str) -> Array:
    try:
        return y.astype(str).astype(object)
    except UnicodeDecodeError:
        raise UserError(f"task.path: y{part} holds bytes that are no ASCII; write it as texts") from None


def _check_alike(pairs: Mapping[str, tuple[Array, Array]]) -> None:
    (first, (x, y)), *others = pairs.items()
    for part, (other_x, other_y) in others:
        if other_x.shape[1:] != x.shape[1:]:
            raise UserError(
                f"task.path: x{part} has examples of shape {other_x.shape[1:]}, those of x{first} are {x.shape[1:]}"
            )
        if other_y.dtype != y.dtype:
            raise UserError(f"task.path: one of y{part} and y{first} holds texts, the other numbers")


def _check_finite(name: str, values: Array) -> None:
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if bad.any():
        rows = np.flatnonzero(bad).tolist()
        raise UserError(f"task.path: {name} is NaN or infinite in {rows_text(rows)} of {len(values)}, counted from 0")
