"""The driver's line to the coordinator: one actor after another, since a dead one is started again from SQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hpo.errors import HpoError, SweepFailed
from hpo.search.messages import Lost, Snapshot

DEATHS_ALLOWED = 3  # in a row, with no trial ended in between
STEADY = 60.0  # seconds of life that are progress too, for sweeps whose trials take long
PAUSE = 1.0  # seconds before the second start, twice as many before the third

Start = Callable[[str | None, float], Any]
"""Starts an actor. Called with how the one before it died (None for the first) and the sweep's seconds so far."""


class Line:
    """Calls the coordinator's actor; when its process has died, starts another and calls that.

    start: starts an actor, whose first answer is to `open`. clear: called when one has died, before another is
    started: whoever trains for the dead one must stop. Any call may be made twice; all that the driver says may be.
    Raises, from every call, SweepFailed when coordinators die again and again, and what `open` or `start` raised.
    Not thread safe: for the driver's main thread.
    """

    def __init__(self, start: Start, clear: Callable[[str], None]) -> None:
        self._start = start
        self._clear = clear
        self._deaths = 0
        self._drained: str | None = None
        self._gone: HpoError | None = None
        self.last: Snapshot | None = None
        self.lives = 0
        self._looked = 0.0
        self._opening: Any = None  # what `open` answers, until it has
        self._begin(None)

    def wants_slot(self, live_slots: int) -> tuple[bool, bool]:
        """Whether one more slot would find work, and whether the sweep is over."""
        wanted, over = self._call("wants_slot", live_slots)
        return wanted, over

    def node_of(self, slot: str) -> str | None:
        """The node a slot started on; None when the coordinator does not know it."""
        node: str | None = self._call("node_of", slot)
        return node

    def lost(self, slot: str, lost: Lost) -> None:
        """A slot is gone."""
        self._call("lost", slot, lost)

    def tick(self) -> Snapshot:
        """The sweep at this moment."""
        self.last = self._call("tick")
        self._looked = time.monotonic()
        return self.last

    def drain(self, why: str) -> None:
        """Start nothing more, whichever coordinator there is."""
        self._drained = why
        self._call("drain", why)

    def close(self, why: str, timeout: float) -> Snapshot:
        """End the run. Raises TimeoutError."""
        last: Snapshot = self._call("close", why, timeout=timeout)
        return last

    @property
    def actor(self) -> Any:
        """The handle that a new slot is given."""
        return self._actor

    def adopted(self) -> list[int]:
        """Numbers of the trials of a dead run, or a dead coordinator, that go on in this one."""
        numbers: list[int] = self._call("adopted")
        return numbers

    def _call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        import ray

        until = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._gone is not None:
                raise self._gone
            left = None if until is None else max(until - time.monotonic(), 0.0)
            try:
                if self._opening is not None:
                    ray.get(self._opening, timeout=left)
                    self._opening = None
                return ray.get(getattr(self._actor, method).remote(*arguments), timeout=left)
            except ray.exceptions.RayActorError as error:
                self._start_again(_death(str(error)))
            except ray.exceptions.RayTaskError as error:
                self._not_opened(error.cause)

    def _not_opened(self, error: BaseException) -> None:
        words = " ".join(str(error).split())[:300]
        if not isinstance(error, HpoError):
            self._gone = SweepFailed(f"the coordinator failed: {type(error).__name__}: {words}")
        elif self.lives == 1:
            self._gone = error
        else:  # a database that does not answer just now, say
            self._start_again(words)

    def _start_again(self, death: str) -> None:
        ended = self._ended()
        if ended > self._ended_before or time.monotonic() - self._born > STEADY:
            self._deaths = 0
        self._deaths += 1
        if self._deaths >= DEATHS_ALLOWED:
            self._gone = SweepFailed(f"the coordinator died {self._deaths} times and no trial ended: {death}")
            return
        self._clear(death)
        time.sleep(PAUSE * (self._deaths - 1))
        try:
            self._begin(death)
        except HpoError as error:
            self._gone = error

    def _begin(self, death: str | None) -> None:
        self._actor = self._start(death, self._seconds())
        self._opening = self._actor.open.remote()
        self.lives += 1
        self._born, self._ended_before = time.monotonic(), self._ended()
        if self._drained is not None:
            self._actor.drain.remote(self._drained)
        if self.last is not None and self.last.failure is not None:
            self._actor.fail.remote(self.last.failure)

    def _seconds(self) -> float:
        """The sweep's, with those that went by since the last look."""
        if self.last is None or self.last.seconds <= 0:
            return 0.0
        return self.last.seconds + time.monotonic() - self._looked

    def _ended(self) -> int:
        return 0 if self.last is None else sum(self.last.counts.values())


def _death(said: str) -> str:
    """What is worth saying of Ray's page about a dead actor."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"its process could not start: {lines[-1][:200]}" if "creation task" in said else "its process died"
