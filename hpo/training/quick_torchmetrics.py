"""torchmetrics' functional API without its slowest import.

`import torchmetrics` loads scipy.signal only to add an alias to it that nothing here uses: 0.8 s instead of 0.15 s, in
every worker. While torchmetrics loads, an empty module stands in its place; scipy.signal itself then loads as ever.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any


@cache
def functional() -> Any:
    """The module `torchmetrics.functional.classification`."""
    name = "scipy.signal"
    stand_in = ModuleType(name)
    stand_in.hamming = None  # type: ignore[attr-defined]
    absent = name not in sys.modules
    if absent:
        sys.modules[name] = stand_in
    try:
        import torchmetrics.functional.classification as module
    finally:
        if absent:
            del sys.modules[name]
    return module
