"""One log file per trial: what its training function printed, warned and raised."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from hpo.errors import mask
from hpo.search.messages import Assignment


class _Masked:
    """A text stream that lets no URL's password through."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, text: str) -> int:
        self._file.write(mask(text))
        return len(text)

    def flush(self) -> None:
        self._file.flush()

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        self._file.close()


class _InEach:
    """A text stream into several files, which are opened for each of the few words that are said."""

    def __init__(self, paths: Callable[[], Sequence[Path]]) -> None:
        self._paths = paths

    def write(self, text: str) -> int:
        for path in self._paths():
            with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as file:
                file.write(mask(text))
        return len(text)

    def flush(self) -> None:
        """Nothing: every write is whole."""

    def isatty(self) -> bool:
        return False


@contextlib.contextmanager
def trial_log(path: Path, given: Assignment) -> Iterator[None]:
    """Send stdout, stderr, logging and warnings to `path` while one trial trains; appends at each attempt."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = _Masked(path)
    except OSError as error:  # a full or read-only disk costs the log, not the trial
        sys.stderr.write(f"trial {given.number}: no log at {path}: {error}\n")
        yield
        return
    try:
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        log.write(f"# trial {given.number}, attempt {given.attempt}, {when}: {dict(given.params)}\n")
        with _into(log, "default"):
            yield
    finally:
        log.close()


@contextlib.contextmanager
def pack_log(paths: Callable[[], Sequence[Path]]) -> Iterator[None]:
    """Send the same of a pack to the logs of all its members, since nobody can say whose it is. A warning comes once.

    paths: those of the moment.
    """
    with _into(_InEach(paths), "once"):
        yield


@contextlib.contextmanager
def _into(log: Any, warn: Literal["default", "once"]) -> Iterator[None]:
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log), warnings.catch_warnings():
            warnings.simplefilter(warn)
            yield
    finally:
        root.removeHandler(handler)
