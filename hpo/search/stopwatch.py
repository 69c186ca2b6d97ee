"""The times of a run: how long it has worked, what of that counts for a trial, and what is left of a budget of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Runs from the first trial on. clock: monotonic seconds. before: of earlier runs. limit: of all runs together."""

    def __init__(self, clock: Callable[[], float], before: float, limit: float | None) -> None:
        self.now = clock
        self._before = before
        self._limit = limit
        self._began: float | None = None
        self._busy_seconds = 0.0

    def begin(self) -> None:
        """The first trial is asked; later calls do nothing."""
        if self._began is None:
            self._began = self.now()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Time in which we are busy or wait for SQL counts for no trial: whoever reports then has to wait for us."""
        started = self.now()
        try:
            yield
        finally:
            self._busy_seconds += self.now() - started

    @property
    def unhindered(self) -> float:
        """The clock that counts for a trial's timeout: it stands still while we are busy."""
        return self.now() - self._busy_seconds

    @property
    def run_seconds(self) -> float:
        """How long this run has worked."""
        return 0.0 if self._began is None else self.now() - self._began

    @property
    def seconds(self) -> float:
        """How long all runs have worked."""
        return self._before + self.run_seconds

    @property
    def left(self) -> float | None:
        """What is left of the budget of time; None where there is none."""
        return None if self._limit is None else self._limit - self.seconds
