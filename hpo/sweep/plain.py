"""Keys as a YAML file could hold them, whether they come from one or from Python."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import UserError
from hpo.registry import Entry
from hpo.schema import Frozen, nest, shown
from hpo.space import Choice, Float, Int, Space


def plain(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Keys as a YAML file could hold them: functions by reference, tuples as lists, NumPy's numbers as Python's."""
    task = keys.get("task")
    if isinstance(task, Mapping):
        keys = {**keys, "task": {**task, "name": _as_reference(task.get("name"))}}
    return {
        str(key): _as_reference(value)
        if key in ("task", "train") and callable(value)
        else _plain_value(value, str(key))
        for key, value in keys.items()
    }


def _plain_value(value: Any, where: str) -> Any:
    if isinstance(value, Space):
        return value.to_raw()
    if isinstance(value, Mapping):
        return {key: _plain_value(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(item, f"{where}.{index}") for index, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        return str(value)
    if getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        raise UserError(f"{where}: must be a number, found nan")
    if isinstance(value, str | int | float | None | Float | Int | Choice | Entry | Frozen):
        return value
    raise UserError(f"{where}: must be plain data (text, numbers, lists, mappings), found {shown(value)}")


def _as_reference(value: Any) -> Any:
    """A function given in Python as the file and name that slots import it by."""
    if not callable(value):
        return value
    name = getattr(value, "__qualname__", "")
    try:
        file = inspect.getsourcefile(value)
    except TypeError:  # built in, or an object that is called
        file = None
    if file is None or not Path(file).is_file() or not name.isidentifier():
        raise UserError(f"{value!r} must be a function at the top level of a file, since other processes import it")
    return f"{Path(file).resolve()}:{name}"


def nested(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted top-level keys nested (`budget.trials: 60`); inside space they stay, choices may hold dots."""
    space = {key: value for key, value in keys.items() if key == "space" or key.startswith("space.")}
    normal = nest({key: value for key, value in keys.items() if key not in space})
    inner: dict[str, Any] = {}
    for key, value in space.items():
        own = {key.removeprefix("space."): value} if key != "space" else value
        if not isinstance(own, Mapping):
            raise UserError(f"space: must be a mapping of parameters, found {shown(own)}")
        for path in own:
            if path in inner:
                raise UserError(f"space.{path}: given twice; keep one")
        inner |= own
    if space:
        normal["space"] = inner
    return normal
