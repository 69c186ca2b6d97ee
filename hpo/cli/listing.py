"""list: what may be named in a sweep file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import _options as o
from hpo.cli._show import put, put_json, table
from hpo.errors import unknown

if TYPE_CHECKING:
    from hpo.registry import Registry

REGISTRIES = {
    "schedules": "hpo.training.schedules",
    "initializers": "hpo.training.initializers",
    "regularizers": "hpo.training.regularizers",
    "losses": "hpo.training.losses",
    "optimizers": "hpo.training.optimizers",
    "metrics": "hpo.training.metrics",
    "models": "hpo.tasks",
    "tasks": "hpo.tasks",
    "samplers": "hpo.search.samplers",
    "pruners": "hpo.search.pruners",
}


def registry(kind: str) -> Registry[Any]:
    """The registry called `kind`. Raises UserError with the nearest name."""
    if kind not in REGISTRIES:
        raise unknown("hpo list", "registry", kind, REGISTRIES)
    found: Registry[Any] = getattr(importlib.import_module(REGISTRIES[kind]), kind)
    return found


def list_(
    kind: Annotated[str, typer.Argument(help="|".join(REGISTRIES), metavar="KIND")],
    plugins: Annotated[list[str] | None, typer.Option("--plugin", help="a file that registers more entries")] = None,
    as_json: o.Json = False,
) -> None:
    """List the entries of a registry, with their fields."""
    from pathlib import Path

    from hpo.loader import find_file, run_file

    chosen = registry(kind)
    for plugin in plugins or ():
        run_file(Path(find_file(plugin, Path.cwd(), "--plugin").source), "--plugin")
    described = chosen.describe()
    if as_json:
        put_json(described)
        return
    for entry in described:
        put(f"{entry['name']}: {entry['summary']}")
        rows = [[f"    {field['name']}", _facts(field), field.get("description", "")] for field in entry["fields"]]
        if rows:
            put(table(["", "", ""], rows).lstrip("\n").removeprefix("\n"))


def _facts(field: dict[str, Any]) -> str:
    default = "required" if field["required"] else f"default {field.get('default')}"
    bounds = [f"{sign} {field[key]}" for key, sign in _BOUNDS.items() if key in field]
    return ", ".join([str(field.get("type", "")) or "value", default, *bounds])


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
