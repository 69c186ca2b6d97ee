"""A bar on the terminal for work on data that takes longer than two seconds."""

from __future__ import annotations

import sys
from threading import Lock, Timer
from types import TracebackType
from typing import Any

PATIENCE = 2.0  # seconds in which nobody asks what is going on


class Bar:
    """A context manager; call it with how much more is done. On stderr, on a terminal only, and gone at the end.

    total: how much there is to do; None where nobody can count it.
    """

    def __init__(self, name: str, total: int | None = None) -> None:
        self._name, self._total, self._done = name, total, 0
        self._bars: Any = None
        self._over = False
        self._lock = Lock()
        self._timer = Timer(PATIENCE, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Bar:
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._bars is not None:
                self._bars.stop()

    def __call__(self, more: int = 1) -> None:
        """So much more is done."""
        self._done += more
        if self._bars is not None:
            self._bars.update(self._row, completed=self._done)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        with self._lock:
            if self._over:
                return
            bars = Progress(console=Console(stderr=True), transient=True)
            self._row = bars.add_task(self._name, total=self._total, completed=self._done)
            bars.start()
            self._bars = bars
