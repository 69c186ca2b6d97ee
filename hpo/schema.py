"""The pydantic base of everything a user can write, and the one place where a validation error becomes a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hpo.errors import UserError, unknown_text


class Frozen(BaseModel):
    """Immutable, refuses unknown keys, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


M = TypeVar("M", bound=BaseModel)


def check(model: type[M], raw: object, where: str = "") -> M:
    """`raw` as a `model`; a mistake raises UserError with one sentence that begins with its dotted key.

    where: the dotted path at which `raw` stands, put before the keys of the sentence.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise UserError(sentence(error, model, where)) from None


def sentence(error: ValidationError, model: type[BaseModel], where: str = "") -> str:
    """The first mistake of `error`, as `key: what was found; what is allowed`."""
    first = error.errors(include_url=False)[0]
    loc = [str(part) for part in first["loc"] if not str(part).startswith("function-")]
    key = ".".join([part for part in [where, *loc] if part]) or "the file"
    kind, found = first["type"], first["input"]
    if kind == "extra_forbidden":
        return f"{'.'.join([p for p in [where, *loc[:-1]] if p]) or 'the file'}: " + unknown_text(
            "key", loc[-1], _names(model, loc[:-1])
        )
    if kind == "missing":
        return f"{key}: missing; it is required"
    if kind in {"value_error", "assertion_error"}:
        text = str(first.get("ctx", {}).get("error", first["msg"]))
        return text if text.startswith(f"{key}:") else f"{key}: {text}"
    if kind in {"unknown_name", "invalid_entry", "hpo"}:
        return f"{key}: {first['msg']}"
    message = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{key}: {message}, found {found!r}"


def _names(model: type[BaseModel], loc: Iterable[str]) -> list[str]:
    """Field names of the model that stands at `loc` below `model`; the model's own when it cannot be told."""
    current: Any = model
    for part in loc:
        field = current.model_fields.get(part) if isinstance(current, type) and issubclass(current, BaseModel) else None
        if field is None:
            return []
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        current = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    return list(current.model_fields) if current is not None else []


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested mappings; nested and dotted keys mean the same and may be mixed.

    A value that also has keys below it (`a: 1` beside `a.b: 2`) stands under the key "" of its mapping.
    Raises UserError when one path is given twice.
    """
    tree: dict[str, Any] = {}
    _merge(tree, flat, "")
    return tree


def _merge(tree: dict[str, Any], flat: Mapping[str, Any], where: str) -> None:
    for path, value in flat.items():
        *parents, leaf = str(path).split(".")
        node = tree
        for parent in parents:
            below = node.setdefault(parent, {})
            if not isinstance(below, dict):
                below = node[parent] = {"": below}
            node = below
        key = f"{where}.{path}" if where else str(path)
        if isinstance(value, Mapping):
            below = node.setdefault(leaf, {})
            if not isinstance(below, dict):
                below = node[leaf] = {"": below}
            _merge(below, value, key)
        elif isinstance(node.get(leaf), dict) and "" not in node[leaf]:
            node[leaf][""] = value
        elif leaf in node:
            raise UserError(f"{key}: given twice; keep one")
        else:
            node[leaf] = value


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The dotted form of a nested mapping; the inverse of `nest`. Empty mappings stay as values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix and key else prefix or key
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, path))
        else:
            flat[path] = value
    return flat
