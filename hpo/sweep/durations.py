"""Durations as people write them: 90, 90s, 5m, 1h30m, 2d."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
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
        raise ValueError(f"{value!r} must be a time above zero")
    return seconds


def show_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back: 300.0 as 5m."""
    left, text = seconds, ""
    for unit, size in _UNITS.items():
        amount = int(left // size) if unit != "s" else left
        if amount:
            text += f"{amount:g}{unit}"
        left -= amount * size
    return text or "0s"


Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(show_duration)]
