"""What a domain may be made of: numbers, ranges, choices, each mistake with its own words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from hpo.errors import UserError

Scalar: TypeAlias = bool | int | float | str | None
"""What a choice can be: what Optuna can keep in every storage."""

MOST = 2**53
"""Samplers compute in floats: beyond this not every whole number is one."""


class DomainError(UserError):
    """A domain that cannot be; `text` says why without a key, so that a file's loader can put its own in front."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text = kind, text

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return type(self), (self.kind, self.text)


def number(kind: str, name: str, value: Any) -> int | float:
    """`value`, a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DomainError(kind, f"{name} must be a number, found {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise DomainError(kind, f"{name} must be finite, found {value!r}")
    if isinstance(value, int) and abs(value) > MOST:
        raise DomainError(kind, f"{name} must lie within 2**53, found {value!r}")
    return value


def whole(kind: str, name: str, value: Any) -> int:
    """`value` as an int."""
    found = number(kind, name, value)
    if abs(found) > MOST:
        raise DomainError(kind, f"{name} must lie within 2**53, found {value!r}")
    if found != int(found):
        raise DomainError(kind, f"{name} must be a whole number, found {value!r}")
    return int(found)


def check_range(kind: str, low: float, high: float, log: Any, step: float | None, stepped: bool) -> None:
    """A range with log or step, not both, whose step reaches its end."""
    if not isinstance(log, bool):
        raise DomainError(kind, f"log must be true or false, found {log!r}")
    if low > high:
        raise DomainError(kind, f"low must not be above high, found low {low} and high {high}")
    if log and low <= 0:
        raise DomainError(kind, f"low must be above 0 with log, found {low}")
    if step is not None and step <= 0:
        raise DomainError(kind, f"step must be above 0, found {step}")
    if log and stepped:
        raise DomainError(kind, f"log and step exclude each other, found both (step {step})")
    if step is not None:
        _check_divisible(kind, low, high, step)


def _check_divisible(kind: str, low: float, high: float, step: float) -> None:
    # decimal, as Optuna checks it: 0.3 is three steps of 0.1 for a reader, though not for a float
    d_low, d_high, d_step = (Decimal(str(x)) for x in (low, high, step))
    if (d_high - d_low) / d_step > MOST:
        raise DomainError(kind, f"step {step} is too small for the range from {low} to {high}")
    if (d_high - d_low) % d_step:
        below = d_low + (d_high - d_low) // d_step * d_step
        raise DomainError(
            kind, f"high must be low {low} and a multiple of step {step}, so {below} or {below + d_step}, found {high}"
        )


SCALES = ("one_minus_log",)


def check_scale(kind: str, scale: Any, low: float, high: float, other: str | None) -> None:
    """A scale beside `log`. other: what excludes it, if that is there too."""
    if scale not in SCALES:
        tail = "; write log: true for a logarithmic range" if "log" in str(scale) else ""
        raise DomainError(kind, f"scale must be {' or '.join(SCALES)}, found {scale!r}{tail}")
    if other is not None:
        raise DomainError(kind, f"scale and {other} exclude each other, found both")
    if not (low >= 0 and high < 1):
        raise DomainError(kind, f"low and high must lie in 0 .. 1, below 1, with scale {scale}, found {low} and {high}")


def check_zero(kind: str, zero: Any) -> None:
    """A probability that is neither never nor always."""
    if isinstance(zero, bool) or not isinstance(zero, int | float) or not 0 < zero < 1:
        raise DomainError(kind, f"zero must be a probability between 0 and 1, found {zero!r}")


def check_told(kind: str, default: Any, source: Any, problem: str | None) -> None:
    """A default that the domain has, and a source in words."""
    if default is not None and problem is not None:
        raise DomainError(kind, f"default {problem}")
    if source is not None and (not isinstance(source, str) or not source.strip()):
        raise DomainError(kind, f"source must be text, found {source!r}")


def check_choices(values: Sequence[Any]) -> None:
    """Some values that Optuna can keep and tell apart."""
    if not values:
        raise DomainError("Choice", "choices must not be empty")
    for value in values:
        if value is not None and not isinstance(value, bool | int | float | str):
            raise DomainError(
                "Choice",
                f"choices must be text, numbers, true, false or null, found {value!r}; "
                "write a mapping of choices to give them parameters of their own",
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise DomainError("Choice", f"choices must be finite, found {value!r}")
    for i, value in enumerate(values):
        for earlier in values[:i]:
            if value == earlier:
                text = (
                    f"{value!r} twice"
                    if type(value) is type(earlier)
                    else f"{earlier!r} and {value!r}, equal for Optuna"
                )
                raise DomainError("Choice", f"choices must differ, found {text}")
