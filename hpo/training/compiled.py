"""torch.compile of a network, where this machine can."""

from __future__ import annotations

import logging
import os
import shutil
from typing import Any

import torch
from torch import nn

log = logging.getLogger("hpo.training")


def compiled(net: nn.Module) -> Any:
    """`net` as a compiled function of its inputs, or `net` itself, with one line in the log, without a C++ compiler.

    Each shape of batch is compiled by itself: with dynamic shapes the order in which they come would decide about the
    code, and so about the last bits of a resumed training.
    """
    if cpp_compiler() is None:
        log.warning("compile: no C++ compiler was found (CXX, g++, clang++), training runs uncompiled")
        return net
    return torch.compile(net, dynamic=False)


def cpp_compiler() -> str | None:
    """The compiler that torch.compile would call, None where there is none."""
    wanted = os.environ.get("CXX")
    return next(
        (found for name in ([wanted] if wanted else ["g++", "clang++", "c++"]) if (found := shutil.which(name))), None
    )
