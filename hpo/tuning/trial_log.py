"""One log file per trial: what its training function printed, warned and raised."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

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
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with (
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("default")
            when = datetime.now().astimezone().isoformat(timespec="seconds")
            log.write(f"# trial {given.number}, attempt {given.attempt}, {when}: {dict(given.params)}\n")
            yield
    finally:
        root.removeHandler(handler)
        log.close()
