"""list: what may be named in a sweep file."""

from __future__ import annotations

import importlib
import json
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
    "augmentations": "hpo.training.augmentations",
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
    else:
        put(_text(described))


def _text(described: list[dict[str, Any]]) -> str:
    """Each entry's name, summary and fields, the fields of all entries in the same columns."""
    rows = [_row(field) for entry in described for field in entry["fields"]]
    lines = iter(table(rows[0], rows[1:]).splitlines() if rows else [])
    blocks = []
    for entry in described:
        fields = [f"    {next(lines)}" for _ in entry["fields"]]
        blocks.append("\n".join([entry["name"], f"  {entry['summary']}", *fields]))
    return "\n\n".join(blocks)


def _row(field: dict[str, Any]) -> list[str]:
    bounds = [f"{sign} {field[key]}" for key, sign in _BOUNDS.items() if key in field]
    default = "required" if field["required"] else f"default {_word(field.get('default'))}"
    return [field["name"], ", ".join([_type(field), *bounds]), default, field.get("description", "")]


def _type(field: dict[str, Any]) -> str:
    types = field.get("type", [])
    words = [_TYPES.get(one, one) for one in ([types] if isinstance(types, str) else types)]
    choices = [_word(choice) for choice in field.get("enum", [])]
    # text that can only be one of a few words is those words
    return " or ".join([word for word in words if not (choices and word == "text")] + choices) or "anything"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_TYPES = {"integer": "int", "number": "float", "string": "text", "boolean": "true or false", "object": "mapping"}
