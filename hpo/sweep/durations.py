"""Durations as people write them: 90, 90s, 5m, 1h30m, 2d."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def parse_duration(value: object) -> float:
    """Seconds of a number or of text like 1h30m. Raises ValueError for anything else, zero and below included."""
    seconds: float | None = None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    if seconds is None:
        raise ValueError(f"{value!r} is not a time; write seconds or 90s, 5m, 1h30m, 2d")
    if not 0 < seconds < 1e9:
        raise ValueError(f"must be a time above zero and below 1e9 seconds, found {value!r}")
    return seconds


def show_duration(seconds: float) -> str:
    """Text that `parse_duration` reads back to the same number: 300.0 as 5m, 0.25 as 0.25s."""
    if seconds != int(seconds):
        return f"{Decimal(repr(seconds)):f}s"
    left, text = int(seconds), ""
    for unit, size in _UNITS.items():
        amount, left = divmod(left, size)
        text += f"{amount}{unit}" if amount else ""
    return text or "0s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(show_duration),
    WithJsonSchema({"type": ["string", "number"], "pattern": f"^{_WHOLE.pattern}$", "exclusiveMinimum": 0}),
]
