"""The corners of a space: points in which its parameters take their extreme values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpo.space import Choice, Domain, Parameter, Space
from hpo.space.stored import params_of


def corners(space: Space) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(path, value, settings): each parameter at each of its extreme values, all others at their first or last.

    A corner that several parameters have comes once. Raises UserError for a tie that has no value at one of them.
    """
    seen: set[str] = set()
    for parameter in space.describe():
        for value, params in _of_one(space, parameter):
            key = repr(params)
            if key not in seen:
                seen.add(key)
                yield parameter.path, value, space.settings(params)


def corners_of_section(space: Space, section: str) -> list[dict[str, Any]]:
    """Settings of corners, as many as tell the section's values apart: one where nothing of it is searched."""
    searched = any(path.split(".")[0] == section for path in (*space.parameters(), *space.ties))
    return [settings for _, _, settings in corners(space)] if searched else [{}]


def _of_one(space: Space, parameter: Parameter) -> Iterator[tuple[Any, dict[str, Any]]]:
    domains = space.parameters()
    for chain in parameter.when or ((),):
        way = {name: value for path, choice in chain for name, value in params_of(path, domains[path], choice).items()}
        for value in dict.fromkeys(_extremes(parameter.domain)):
            fixed = way | params_of(parameter.path, parameter.domain, value)
            for last in (False, True):
                yield value, space.suggest(_Corner(fixed, last))


def _extremes(domain: Domain) -> Sequence[Any]:
    if isinstance(domain, Choice):
        return domain.choices
    return (domain.low, domain.high) if domain.zero is None else (0, domain.low, domain.high)


class _Corner:
    """Suggests fixed values where it has them, else the first and lowest, or the last and highest."""

    def __init__(self, fixed: Mapping[str, Any], last: bool) -> None:
        self._fixed, self._last = fixed, last

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        del step, log
        return float(self._fixed.get(name, high if self._last else low))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        del step, log
        return int(self._fixed.get(name, high if self._last else low))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._fixed.get(name, choices[-1 if self._last else 0])
