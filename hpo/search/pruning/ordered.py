"""Values in order, and quantiles of numbers."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T", float, tuple[float, ...])

_ONE_BY_ONE = 16  # beyond so many new values sorting all is quicker than putting each in its place


class Ordered(Generic[T]):
    """Values in ascending order; adding many at once is cheap, they are put in order when somebody looks."""

    def __init__(self, values: Iterable[T] = ()) -> None:
        self._values: list[T] = []
        self._new: list[T] = list(values)

    def __len__(self) -> int:
        return len(self._values) + len(self._new)

    def add(self, value: T) -> None:
        """Add one; not NaN."""
        self._new.append(value)

    def remove(self, value: T) -> None:
        """Take out one that was added."""
        values = self.values
        del values[bisect_left(values, value)]

    @property
    def values(self) -> list[T]:
        """All of them in order; not to be changed by the caller."""
        if len(self._new) <= _ONE_BY_ONE:
            for value in self._new:
                insort(self._values, value)
        else:
            self._values.extend(self._new)
            self._values.sort()
        self._new.clear()
        return self._values


def percentile(ordered: Sequence[float], percent: float) -> float:
    """What `numpy.percentile` gives for these values, bit for bit, from its two neighbours alone.

    ordered: at least one value, ascending, no NaN. percent: 0 to 100. NaN between infinities, as there.
    """
    place = (len(ordered) - 1) * (percent / 100)
    below = int(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    share = place - below
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
