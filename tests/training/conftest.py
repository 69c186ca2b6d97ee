"""Makes torchvision importable beside a torch without CUDA: timm needs it, and torchmetrics takes it where it is there.

The registry of packages has torchvision built for CUDA only. Beside the CPU's torch its compiled operators do not load,
which it puts up with, but for two of them: it attaches functions to `nms` and `qnms`, which must then be known by name.
So they are declared here, with nothing behind them; no test calls them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_OPERATORS = ("nms", "qnms")
_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _declared() -> torch.library.Library | None:
    """What declares the operators, as long as it is held; None where torchvision's own load, or there is none."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    try:
        torch.ops.load_library(Path(found.origin).parent / "_C.so")
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in _OPERATORS:
            library.define(name + _ARGUMENTS)
        return library
    return None


_LIBRARY = _declared()  # before any module here imports what imports torchvision
