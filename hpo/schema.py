"""The pydantic base of everything a user can write, and the one place where a validation error becomes a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from hpo.errors import UserError, nearest, unknown_text


class Frozen(BaseModel):
    """Immutable; refuses unknown keys, NaN and infinity, text for a number, and true or false for either."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


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
    loc, text = mistake(error, model)
    key = ".".join([part for part in (where, *loc) if part])
    return f"{key}: {text}" if key else text


def mistake(error: ValidationError, model: type[BaseModel]) -> tuple[tuple[str, ...], str]:
    """The first mistake of `error`: the keys below `model` that lead to it, and what is wrong there."""
    errors = error.errors(include_url=False)
    # a mistyped key is also a missing one, and the mistyped one is what the user can see
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    loc, owner = _keys(model, first["loc"])
    kind, found, facts = first["type"], shown(first["input"]), first.get("ctx", {})
    message = _SUBJECT.sub("", first["msg"])
    options = [_SUBJECT.sub("", one["msg"]) for one in errors if _keys(model, one["loc"])[0] == loc]
    if kind in {"unknown_name", _OWN}:  # sentences of our own
        return loc, message
    if kind in {"value_error", "assertion_error"}:
        return loc, str(facts.get("error", message))
    if kind == "extra_forbidden":
        return loc[:-1], unknown_text("key", loc[-1], owner.model_fields if owner else ())
    if kind == "missing":
        choices = _choices(owner, loc[-1])
        return loc, "missing; it is required" + (f", one of {', '.join(choices)}" if choices else "")
    if len(options) > 1:  # a union: what each of its types says
        return loc, f"should be {' or '.join(text.removeprefix('should be ') for text in options)}, found {found}"
    if kind == "literal_error":
        near = nearest(first["input"], _choices(owner, loc[-1]) if loc else ())
        return loc, f"{message}, found {found}" + (f"; did you mean {near!r}?" if near else "")
    if kind == "model_type":
        return loc, f"should be a mapping, found {found}"
    if first["loc"] and first["loc"][-1] == "[key]":
        return loc, f"a key should be text, found {found}"
    if facts.get("min_length") == 1:
        return loc, "should not be empty"
    return loc, f"{message}, found {found}"


_OWN = "invalid_entry"


def sentence_of_our_own(text: str) -> PydanticCustomError:
    """A mistake for a pydantic validator to raise, whose sentence `mistake` gives back as it is."""
    return PydanticCustomError(_OWN, "{text}", {"text": text})


def mistake_at(title: str, text: str, *loc: str, found: object = None) -> ValidationError:
    """A mistake in our words at keys below the field that is validated; `mistake` gives keys and words back.

    title: of what is validated, as pydantic prints it.  found: what stands there.
    """
    return ValidationError.from_exception_data(title, [{"type": sentence_of_our_own(text), "loc": loc, "input": found}])


_SUBJECT = re.compile(r"^(?:Input|String|Tuple|Value error,) ")


def shown(value: object) -> str:
    """A value as an error sentence shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _keys(model: type[BaseModel], loc: Iterable[int | str]) -> tuple[tuple[str, ...], type[BaseModel] | None]:
    """`loc` as the keys a user wrote, without pydantic's own marks, and the model that the last of them belongs to."""
    keys: list[str] = []
    owner: type[BaseModel] | None = None
    current: Any = model
    for part in loc:
        options = [option for option in _options(current) if option is not type(None)]
        if len(options) > 1 or str(part) == "[key]" or str(part).startswith("function-"):
            continue  # which option of a union was tried is no key
        current = options[0]
        keys.append(str(part))
        if isinstance(current, type) and issubclass(current, BaseModel):
            owner, field = current, current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:
            inner = get_args(current)
            owner, current = None, (inner[-1] if get_origin(current) is dict else inner[0]) if inner else None
    return tuple(keys), owner


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _choices(owner: type[BaseModel] | None, key: str) -> tuple[str, ...]:
    """The values of a Literal field."""
    field = owner.model_fields.get(key) if owner else None
    return tuple(map(str, get_args(field.annotation))) if field and get_origin(field.annotation) is Literal else ()


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
