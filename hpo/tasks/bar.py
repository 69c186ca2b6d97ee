"""A bar on the terminal for work on data that takes longer than two seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

PATIENCE = 2.0  # seconds in which nobody asks what is going on


class Bar:
    """A context manager; call it with how much more is done. On stderr, on a terminal only, and gone at the end."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._since = time.monotonic()
        self._bars: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, more: int = 1) -> None:
        """So much more is done."""
        self._done += more
        if self._bars is None and time.monotonic() - self._since > PATIENCE and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bars = Progress(console=Console(stderr=True), transient=True)
            self._bars.start()
            self._row = self._bars.add_task(self._name, total=self._total)
        if self._bars is not None:
            self._bars.update(self._row, completed=self._done)
