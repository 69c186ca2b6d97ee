"""The folder in which this machine keeps what is made once: data as arrays, steps as machine code."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

UNUSED = 30 * 24 * 3600.0  # seconds after which an entry that nobody used is deleted


def home() -> Path:
    """`HPO_CACHE`, or `hpo` below `XDG_CACHE_HOME`, or `~/.cache/hpo`; it need not be there, nor writable."""
    own, shared = os.environ.get("HPO_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).absolute()
    try:
        return (Path(shared).absolute() if shared else Path.home() / ".cache") / "hpo"
    except RuntimeError:  # a user without a home, as in some containers: nothing can be kept
        return Path(os.devnull) / "hpo"


def used(entry: Path) -> None:
    """An entry was of use today."""
    with contextlib.suppress(OSError):
        os.utime(entry)


def drop_unused(folder: Path) -> None:
    """Delete the entries of a folder, files or folders, that were of no use for a month."""
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > UNUSED:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
