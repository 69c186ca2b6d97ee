"""The folder in which this machine keeps what was made from a user's data."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`HPO_CACHE`, or `hpo` below `XDG_CACHE_HOME`, or `~/.cache/hpo`; it need not be there."""
    own = os.environ.get("HPO_CACHE")
    if own:
        return Path(own).absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared).absolute() if shared else Path.home() / ".cache") / "hpo"
