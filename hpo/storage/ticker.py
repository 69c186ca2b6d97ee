"""The one background thread: writes what is due, looks for news, and ends with its storage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Weak = Callable[[], Callable[[], object] | None]
"""A `weakref.WeakMethod`: gives the method, or None when its owner is gone."""


class Ticker:
    """Calls `often` every `lag` seconds and `seldom` every `interval` seconds, until stopped or orphaned.

    The methods are called one after the other, never at the same time; they must not raise.
    """

    def __init__(self, often: Weak, lag: float, seldom: Weak, interval: float) -> None:
        self._often, self._lag = often, lag
        self._seldom, self._interval = seldom, interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hpo-storage", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when the thread has ended. From the thread itself: only ask it to."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._stopped.wait(self._lag):
            if not _call(self._often):
                return
            if time.monotonic() - looked >= self._interval:
                _call(self._seldom)
                looked = time.monotonic()


def _call(weak: Weak) -> bool:
    method = weak()
    if method is None:
        return False
    method()
    return True
