"""How a study keeps a parameter: under its path, or where it has a scale of ours, as plain parameters beside it.

| domain | the study holds | the configuration gets |
| --- | --- | --- |
| any other | `<path>` | its value |
| `zero: 0.2` | `<path>.on`, true or false, and only where it is true the value | 0 where it is off, else the value |
| `scale: one_minus_log` | `<path>.one_minus`, log-uniform | `1 - value`, in double precision |

So the stock dashboard shows each on the axis on which it is searched, and nothing of ours is needed to read it: what
`1 - value` is in Python is what trained, to the last bit (exact from 0.5 on, else rounded once).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hpo.space.checks import Scalar
from hpo.space.domains import Choice, Domain, Float, Int

ON, ONE_MINUS = "on", "one_minus"


def is_plain(domain: Domain) -> bool:
    """Whether the study keeps it as it is, branches included."""
    if isinstance(domain, Choice):
        return all(branch.stored is branch for branch in domain.branches)
    return domain.zero is None and domain.scale is None


def kept(path: str, domain: Domain) -> dict[str, Domain]:
    """The study's own parameters for the one at `path`, by name."""
    if is_plain(domain):
        return {path: domain}
    if isinstance(domain, Choice):
        branches = dict(zip(domain.choices, (branch.stored for branch in domain.branches), strict=True))
        return {path: Choice(branches)}
    name, plain = value_name(path, domain), _plain(domain)
    if domain.zero is None:
        return {name: plain}
    return {f"{path}.{ON}": Choice({False: {}, True: {name: plain}})}


def names(path: str, domain: Domain) -> list[str]:
    """All names under which the study may hold something of the parameter at `path`, its branches' left out."""
    on = [] if domain.zero is None else [f"{path}.{ON}"]
    return [*on, value_name(path, domain)]


def value_name(path: str, domain: Domain) -> str:
    """The name of the parameter that holds the number itself."""
    return path if domain.scale is None else f"{path}.{ONE_MINUS}"


def setting(path: str, domain: Domain, params: Mapping[str, Any]) -> Any:
    """What the configuration gets at `path`. Raises KeyError for a name that `params` lacks."""
    if domain.zero is not None and not params[f"{path}.{ON}"]:
        return 0 if isinstance(domain, Int) else 0.0
    value = params[value_name(path, domain)]
    return value if domain.scale is None else 1 - value


def params_of(path: str, domain: Domain, value: Scalar) -> dict[str, Scalar]:
    """The inverse of `setting`: what the study holds for `value`, to the last bit but one below 0.5."""
    on: dict[str, Scalar] = {}
    if domain.zero is not None:
        on[f"{path}.{ON}"] = value != 0
        if value == 0:
            return on
    return {**on, value_name(path, domain): value if domain.scale is None else _one_minus(value)}


def _plain(domain: Float | Int) -> Float | Int:
    if isinstance(domain, Int):
        return replace(domain, zero=None, default=None)
    if domain.scale is None:
        return replace(domain, zero=None, default=None)
    return Float(_one_minus(domain.high), _one_minus(domain.low), log=True)


def _one_minus(value: Any) -> float:
    # in decimals, as whoever wrote 0.999 would: 0.001, where floats have 0.0010000000000000009
    return float(1 - Decimal(str(value)))
