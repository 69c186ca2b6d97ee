"""A search space from the raw form of a sweep file, with an answer to each way of writing it wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.errors import UserError, nearest, unknown
from hpo.schema import flatten
from hpo.space.checks import DomainError
from hpo.space.domains import Choice, Domain, Float, Int
from hpo.space.ties import Tie
from hpo.space.tree import Kinds, Space, join, label

OURS = ("low", "high", "log", "step", "scale", "zero", "type", "choices", "default", "source")

# keys of other tools (W&B, Ray Tune, Ax, NNI, Vizier, SMAC, Nevergrad) and what to write here
FOREIGN = {
    "min": "low",
    "min_value": "low",
    "minimum": "low",
    "lower": "low",
    "lower_bound": "low",
    "max": "high",
    "max_value": "high",
    "maximum": "high",
    "upper": "high",
    "upper_bound": "high",
    "bounds": "low and high",
    "range": "low and high",
    "domain": "low and high, or choices",
    "grid_search": "choices",
    "values": "choices",
    "categories": "choices",
    "options": "choices",
    "_value": "low and high, or choices",
    "value": "it under base: as a fixed value",
    "distribution": "low and high, with log: true or step",
    "_type": "low and high, or choices",
    "scaling": "log: true",
    "log_scale": "log: true",
    "q": "step",
    "dtype": "type",
    "value_type": "type",
    "parameters": "its parameters directly, without it",
    "mu": "low and high; normal distributions are not offered",
    "sigma": "low and high; normal distributions are not offered",
}

_NEEDS = "a parameter needs {low: ..., high: ...} or {choices: [...]}"


def parse(raw: Any, kinds: Kinds, where: str) -> Space:
    """See `Space.parse`."""
    if isinstance(raw, Space):
        return raw
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: must be a mapping of parameters, found {raw!r}")
    flat: dict[str, Domain] = {}
    _collect({key: value for key, value in raw.items() if key != "tie"}, "", flat, kinds, where)
    return Space(flat, where, parse_ties(raw["tie"], kinds, where) if "tie" in raw else None)


def parse_ties(raw: Any, kinds: Kinds, where: str) -> dict[str, Tie]:
    """The ties of a sweep file, `{path: expression}`. Raises UserError naming the path."""
    at = label(where, "tie")
    if not isinstance(raw, Mapping):
        raise UserError(
            f'{at}: must be a mapping such as {{optimizer.weight_decay: "0.1 * optimizer.lr"}}, found {raw!r}'
        )
    ties: dict[str, Tie] = {}
    for path, text in flatten({join("", key, at): value for key, value in raw.items()}).items():
        try:
            ties[path] = Tie(text, kinds(path) == "int")
        except DomainError as error:
            raise UserError(f"{at}.{path}: {error.text}") from None
    return ties


def _collect(raw: Mapping[Any, Any], prefix: str, flat: dict[str, Domain], kinds: Kinds, where: str) -> None:
    """Everything at and below `prefix`, as domains by path into `flat`."""
    for key, value in raw.items():
        path = join(prefix, key, where)
        at = label(where, path)
        if key == "parameters" and isinstance(value, Mapping) and not isinstance(value, Space):
            raise UserError(f"{at}: 'parameters' is another tool's key; write {FOREIGN['parameters']}")
        if isinstance(value, Float | Int | Choice):
            _put(flat, path, value, at)
        elif isinstance(value, Space):
            if value.ties:
                raise UserError(f"{at}: a tie stands at the top of the space, not below a path")
            _collect(value, path, flat, kinds, where)
        elif isinstance(value, Mapping):
            own = {
                k: v for k, v in value.items() if k == "choices" or not isinstance(v, Mapping | Float | Int | Choice)
            }
            below = {k: v for k, v in value.items() if k not in own}
            if own and any(k in OURS or k in FOREIGN or nearest(k, OURS) for k in own):
                _put(flat, path, _domain(own, path, at, kinds), at)
            elif own or not value:
                _collect(own or {"": None}, path, flat, kinds, where)  # says what is wrong with each
            _collect(below, path, flat, kinds, where)
        else:
            raise _no_domain(at, value)


def _put(flat: dict[str, Domain], path: str, domain: Domain, at: str) -> None:
    if path in flat:
        raise UserError(f"{at}: given twice; keep one")
    flat[path] = domain


def _no_domain(at: str, value: Any) -> UserError:
    if value is None:
        return UserError(f"{at}: is empty; {_NEEDS}")
    if isinstance(value, list | tuple):
        return UserError(f"{at}: found the list {value!r}; {_NEEDS}")
    return UserError(f"{at}: found the single value {value!r}; {_NEEDS}, and fixed values belong in base:")


def _domain(own: Mapping[Any, Any], path: str, at: str, kinds: Kinds) -> Domain:
    for key in own:
        if key in FOREIGN:
            raise UserError(f"{at}: {key!r} is another tool's key; write {FOREIGN[key]}")
        if key not in OURS:
            raise unknown(at, "key", key, OURS)
    for key, value in own.items():
        if value is None:
            raise UserError(f"{at}.{key}: is empty; {_NEEDS}")
    try:
        return _choice(own, at, kinds) if "choices" in own else _range(own, path, at, kinds)
    except DomainError as error:
        raise UserError(f"{at}: {error.text}") from None


def _range(own: Mapping[str, Any], path: str, at: str, kinds: Kinds) -> Float | Int:
    for key in ("low", "high"):
        if key not in own:
            raise UserError(f"{at}.{key}: missing; {_NEEDS}")
    bounds = {key: own[key] for key in OURS if key in own and key not in ("type", "choices")}
    if _kind(own, path, at, kinds) == "float":
        return Float(**bounds)
    if "scale" in bounds:
        raise UserError(f"{at}.scale: is of floats; whole numbers have log: true")
    return Int(**bounds)


def _kind(own: Mapping[str, Any], path: str, at: str, kinds: Kinds) -> str:
    """int or float: the field's own type, else the one stated, else float when a number is written as one."""
    field, stated = kinds(path), own.get("type")
    if stated is not None and stated not in ("int", "float"):
        tail = "; write log: true for a logarithmic range" if "log" in str(stated) else ""
        raise UserError(f"{at}.type: must be int or float, found {stated!r}{tail}")
    if field is not None and stated not in (None, field):
        raise UserError(f"{at}.type: must be {field}, the type of this field, found {stated!r}")
    if field or stated:
        return str(field or stated)
    numbers = [own[key] for key in ("low", "high", "step") if key in own]
    if all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise UserError(
            f"{at}: low {own['low']} and high {own['high']} are whole numbers; add type: int or type: float"
        )
    return "float"


def _choice(own: Mapping[str, Any], at: str, kinds: Kinds) -> Choice:
    beside = [key for key in own if key not in ("choices", "default", "source")]
    if beside:
        raise UserError(f"{at}: choices stand alone, found {', '.join(beside)} beside them")
    raw, told = own["choices"], {key: own[key] for key in ("default", "source") if key in own}
    if isinstance(raw, list | tuple) and any(isinstance(item, list | tuple) for item in raw):
        raw = _from_pairs(raw, at)
    if not isinstance(raw, Mapping):
        return Choice(raw, **told)
    branches: dict[Any, Space] = {}
    for value, branch in raw.items():
        key = f"{at}.choices.{value}"
        if branch is not None and not isinstance(branch, Mapping):
            raise UserError(f"{key}: must hold the parameters this choice brings, or nothing, found {branch!r}")
        if branch is not None and "tie" in branch:
            raise UserError(f"{key}.tie: a tie stands at the top of the space, not in a branch")
        branches[value] = parse({} if branch is None else branch, kinds, key)
    return Choice(branches, **told)


def _from_pairs(raw: Any, at: str) -> dict[Any, Any]:
    """Choices that are no strings, with what they bring: `[[64, {...}], [128, {}]]`, as JSON can keep them."""
    pairs: dict[Any, Any] = {}
    for item in raw:
        right = isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[1], Mapping | None)
        if not right or isinstance(item[0], list | tuple | Mapping):
            raise UserError(f"{at}.choices: must be values, or a mapping of values to what they bring, found {item!r}")
        if item[0] in pairs:
            raise UserError(f"{at}: choices must differ, found {item[0]!r} twice")
        pairs[item[0]] = item[1]
    return pairs
