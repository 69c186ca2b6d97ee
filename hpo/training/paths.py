"""A config as dotted paths: which there are, a config as a flat mapping, and a config with some of them changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, TypeVar

from hpo.errors import UserError, nearest
from hpo.registry import Entry
from hpo.schema import check, flatten, nest
from hpo.training.config import TrainingConfig, registry_of
from hpo.training.over_time import Schedules, targets
from hpo.training.privacy import Privacy
from hpo.training.schedules import schedules
from hpo.training.sections import STRENGTHS

Kind = Literal["int", "float", "str", "bool", "list", "mapping", "any"]
_KINDS: dict[Any, Kind] = {
    "integer": "int",
    "number": "float",
    "string": "str",
    "boolean": "bool",
    "array": "list",
    "object": "mapping",
}
C = TypeVar("C", bound=TrainingConfig)
_LISTED = 60  # a longer list hides what it should show


@dataclass(frozen=True)
class Path:
    """What may stand at one dotted path.

    kind: "any" where only the task's own model function knows. choices: the allowed values, None when they are no list.
    low, high: bounds, None when open; `low_open`, `high_open` say that the bound itself is not allowed.
    entries: names of the registry entries that have this field, () when every config has it.
    set_by: the key of a sweep that sets it, when a search space and a base must not.
    """

    kind: Kind
    choices: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    default: Any = None
    description: str = ""
    entries: tuple[str, ...] = ()
    set_by: str | None = None


class Paths(dict[str, Path]):
    """All legal paths of a config type; below the prefixes of `free` every path is legal, and is what stands there."""

    def __init__(self, known: Mapping[str, Path], free: Mapping[str, Path]) -> None:
        super().__init__(known)
        self.free = free

    def find(self, path: str, where: str = "") -> Path:
        """The Path at `path`, which may also be spelled with the main field (`regularization.dropout.rate`).

        Raises UserError, beginning with `where`, that names the nearest path.
        """
        found = self.get(path) or self.get(canonical(path))
        if found is not None:
            return found
        for prefix, below in self.free.items():
            if path.startswith(prefix):
                return below
        legal = [*self, *(f"{prefix}<name>" for prefix in self.free)]
        near = nearest(path, legal)
        section = [name for name in legal if name.startswith(f"{path.split('.')[0]}.")]
        if len(section) > _LISTED:
            section = [name for name in section if name.endswith(".name")]
        listed = ", ".join(section or dict.fromkeys(name.split(".")[0] for name in legal))
        question = f"; did you mean {near!r}?" if near else ";"
        raise UserError(f"{where}: unknown path {path!r}{question} (allowed: {listed})".removeprefix(": "))


def paths(config_type: type[TrainingConfig] = TrainingConfig) -> Paths:
    """Every legal dotted path of `config_type` by its canonical name, entries of plugins included.

    A field that several entries have (`schedule.floor`) is one path whose bounds are the widest of theirs.
    """
    registries = [registry_of(config_type, field) for field in config_type.model_fields]
    listed = [registry.entries.values() for registry in (*registries, *STRENGTHS.values()) if registry]
    found = _paths(config_type, tuple(entry for entries in listed for entry in entries))
    return Paths(found, found.free)


@lru_cache(maxsize=16)
def _paths(config_type: type[TrainingConfig], entries: tuple[type[Entry], ...]) -> Paths:
    """`paths` while the registries hold `entries`; 25 ms of JSON Schemas, which every trial would pay."""
    del entries
    known: dict[str, Path] = {}
    free: dict[str, Path] = {}
    own = _properties(config_type)
    for field, info in config_type.model_fields.items():
        registry = registry_of(config_type, field)
        if registry is not None:
            default = info.get_default(call_default_factory=True)
            known[f"{field}.name"] = Path(
                "str", tuple(registry.entries), default=default.name, description=info.description or ""
            )
            for entry in registry.entries.values():
                for name, path in _fields(entry):
                    _add(known, f"{field}.{name}", path)
                for name, below in _mappings(entry):
                    _add(free, f"{field}.{name}.", below)
        elif field in STRENGTHS:
            for entry_name, entry in STRENGTHS[field].entries.items():
                for name, path in _fields(entry):
                    _add(known, canonical(f"{field}.{entry_name}.{name}"), path)
        elif info.annotation is Schedules:
            fields: dict[str, Path] = {}
            for name, path in (found for entry in schedules.entries.values() for found in _fields(entry)):
                _add(fields, name, path)
            for target, text in targets().items():
                about = f"schedule of {target}: {text}"
                known[f"{field}.{target}.name"] = Path("str", tuple(schedules.entries), description=about)
                known |= {f"{field}.{target}.{name}": path for name, path in fields.items()}
        elif info.annotation is Privacy:
            known |= {f"{field}.{name}": _path(schema) for name, schema in _properties(Privacy).items()}
        elif info.annotation == dict[str, Any]:
            free[f"{field}."] = Path("any", description="read by the task's own model function")
        else:
            known[field] = _path(own[field])
    return Paths(known, free)


def canonical(path: str) -> str:
    """The one name of a path.

    `regularization.dropout.rate` is `regularization.dropout`, `schedules.optimizer.momentum` is
    `schedules.optimizer.momentum.name`.
    """
    if path.removeprefix("schedules.") in targets() and path.startswith("schedules."):
        return f"{path}.name"
    parts = path.split(".")
    if len(parts) == 3 and parts[0] in STRENGTHS:
        known = STRENGTHS[parts[0]].entries.get(parts[1])
        if known is not None and parts[2] == known.main:
            return ".".join(parts[:2])
    return path


def as_paths(config: TrainingConfig) -> dict[str, Any]:
    """`config` as a flat mapping of canonical paths; `with_paths(type(config)(), as_paths(config)) == config`."""
    flat = flatten(config.model_dump(mode="json"))
    return {canonical(path): value for path, value in flat.items() if not isinstance(value, Mapping)}


def with_paths(config: C, values: Mapping[str, Any], where: str = "") -> C:
    """`config` with some paths changed; nested and dotted keys mean the same.

    Where a section's name changes, what the old entry had is dropped and the new entry's defaults stand.
    Raises UserError with one sentence, beginning with `where`, for a path that does not exist or a value that it
    cannot have.
    """
    kind = type(config)
    known = paths(kind)
    changes: dict[str, Any] = {}
    for path, value in flatten(nest(values)).items():
        # `schedule: cosine` names the entry
        name = f"{path}.name" if registry_of(kind, path) is not None else canonical(path)
        if name in changes:
            raise UserError(f"{where}.{name}: given twice; keep one".lstrip("."))
        if name not in kind.model_fields and f"{name}." not in known.free:
            known.find(name, where)
        changes[name] = value
    before = as_paths(config)
    for section in (*kind.model_fields, *(f"schedules.{target}" for target in targets())):
        name = f"{section}.name"
        if name in changes and name in before and changes[name] != before[name]:
            before = {path: value for path, value in before.items() if not path.startswith(f"{section}.")}
    return check(kind, nest({**before, **changes}), where)


def _fields(entry: type[Entry]) -> Iterator[tuple[str, Path]]:
    for name, schema in _properties(entry).items():
        if schema.get("type") != "object":
            yield name, replace(_path(schema), entries=(entry.registered_as,))


def _mappings(entry: type[Entry]) -> Iterator[tuple[str, Path]]:
    """Fields that map names of the user's to values, and what such a value is."""
    for name, schema in _properties(entry).items():
        if schema.get("type") == "object":
            value = {**schema["additionalProperties"], "description": schema.get("description", "")}
            yield name, replace(_path(value), entries=(entry.registered_as,))


@lru_cache(maxsize=512)
def _properties(model: Any) -> dict[str, Any]:
    """Not to be changed: a schema takes pydantic milliseconds, and each is asked for twice or more."""
    schema: dict[str, Any] = model.model_json_schema()
    return dict(schema.get("properties", {}))


def _path(schema: dict[str, Any]) -> Path:
    """What a field's JSON Schema says of it; the first kind of an optional one."""
    one = next((option for option in schema.get("anyOf", []) if option.get("type") != "null"), schema)
    choices = one.get("enum", [one["const"]] if "const" in one else None)
    return Path(
        kind=_KINDS.get(one.get("type"), "any"),
        choices=tuple(choices) if choices else None,
        low=one.get("minimum", one.get("exclusiveMinimum")),
        high=one.get("maximum", one.get("exclusiveMaximum")),
        low_open="exclusiveMinimum" in one,
        high_open="exclusiveMaximum" in one,
        default=schema.get("default"),
        description=schema.get("description", ""),
        set_by=schema.get("set_by"),
    )


def _add(known: dict[str, Path], name: str, path: Path) -> None:
    """Put `path` in, as wide as every entry that has it allows."""
    other = known.get(name)
    if other is None:
        known[name] = path
        return
    low, low_open = _wider(other.low, other.low_open, path.low, path.low_open, min)
    high, high_open = _wider(other.high, other.high_open, path.high, path.high_open, max)
    both = other.choices is not None and path.choices is not None
    known[name] = replace(
        other,
        kind=other.kind if other.kind == path.kind else "any",
        choices=tuple(dict.fromkeys((*(other.choices or ()), *(path.choices or ())))) if both else None,
        low=low,
        low_open=low_open,
        high=high,
        high_open=high_open,
        entries=(*other.entries, *path.entries),
    )


def _wider(
    first: float | None, first_open: bool, second: float | None, second_open: bool, outer: Any
) -> tuple[float | None, bool]:
    if first is None or second is None:
        return None, False
    if first == second:
        return first, first_open and second_open
    return (first, first_open) if outer(first, second) == first else (second, second_open)
