"""The folder in which this machine keeps what was made from a user's data."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`HPO_CACHE`, or `hpo` below `XDG_CACHE_HOME`, or `~/.cache/hpo`; it need not be there, nor writable."""
    own, shared = os.environ.get("HPO_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).absolute()
    try:
        return (Path(shared).absolute() if shared else Path.home() / ".cache") / "hpo"
    except RuntimeError:  # a user without a home, as in some containers: nothing can be kept
        return Path(os.devnull) / "hpo"
