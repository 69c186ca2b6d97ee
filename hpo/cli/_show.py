"""What the terminal shows: data on stdout, everything else on stderr, readable without colour."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from hpo.errors import mask

if TYPE_CHECKING:
    from hpo.search.messages import Snapshot


def say(text: str) -> None:
    """A line for people, on stderr."""
    typer.echo(mask(text), err=True)


def quiet(text: str) -> None:
    """Say nothing."""
    del text


def put(text: str) -> None:
    """Data, on stdout."""
    typer.echo(text)


def put_json(data: Any) -> None:
    """Data as JSON, on stdout; NaN and infinities as null, times in ISO form."""
    typer.echo(json.dumps(_finite(data), indent=2, default=_plain))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _finite(data: Any) -> Any:
    if isinstance(data, float) and (data != data or abs(data) == float("inf")):
        return None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(item) for item in data] if isinstance(data, list | tuple) else data


def number(value: float | None) -> str:
    """A figure for people."""
    return "" if value is None else f"{value:.6g}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain table, columns as wide as they need."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


class Progress:
    """Live progress on a terminal, plain lines elsewhere, nothing when quiet. A context manager; call it to draw."""

    def __init__(self, name: str, *, silent: bool) -> None:
        self._name = name
        self._silent = silent
        self._live: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, snapshot: Snapshot) -> None:
        """Draw one snapshot."""
        for warning in snapshot.warnings:
            say(f"warning: {warning}")
        if self._silent:
            return
        if sys.stderr.isatty():
            self._draw(snapshot)
        else:
            from hpo.progress import trial_line

            for end in snapshot.ended:
                say(trial_line(end, snapshot))

    def _draw(self, snapshot: Snapshot) -> None:
        from rich.console import Console
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=Console(stderr=True), refresh_per_second=5, transient=False)
            self._live.start()
        for end in snapshot.ended:
            if end.reason and end.state == "FAIL":
                failed = f"trial {end.number} failed: {mask(end.reason)}"
                self._live.console.print(failed, markup=False, highlight=False)
        self._live.update(self._panel(snapshot))

    def _panel(self, snapshot: Snapshot) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from hpo.progress import best_text, counts_text, done_of, time_left, time_text

        done = sum(snapshot.counts.values())
        left = time_left(snapshot)
        best = best_text(snapshot)
        head = Text.assemble((self._name, "bold"), f"  {done_of(snapshot)} trials  ", (best, "green"))
        foot = f"{counts_text(snapshot)}, {snapshot.running} running, {snapshot.rate:.0f} a minute"
        if not snapshot.over:
            foot += f", about {time_text(left)} left" if left is not None else ""
        bar = ProgressBar(total=snapshot.total, completed=done, width=60, pulse=snapshot.total is None)
        rows = Table.grid()
        for row in (head, bar, Text(foot, "dim")):
            rows.add_row(row)
        return rows


class Counted:
    """A bar for work that is counted, on a terminal; nothing elsewhere. A context manager; call it to draw."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, name: str, done: int, total: int) -> None:
        """How much of `name` is done."""
        if not sys.stderr.isatty():
            return
        if self._bars is None:
            from rich.console import Console
            from rich.progress import Progress as Bars

            self._bars = Bars(console=Console(stderr=True), transient=True)
            self._bars.start()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done)


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start
