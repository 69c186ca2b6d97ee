"""torch.compile of a network, where this machine can."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch

log = logging.getLogger("hpo.training")


def compiled(net: Callable[..., Any]) -> Any:
    """A network, or what else computes a step, as a compiled function of its inputs, if `can_compile`.

    Each shape of batch is compiled by itself: with dynamic shapes the order in which they come would decide about the
    code, and so about the last bits of a resumed training.
    """
    return torch.compile(net, dynamic=False) if can_compile() else net


def can_compile() -> bool:
    """Whether there is a C++ compiler; one line in the log where there is none."""
    found = cpp_compiler() is not None
    if not found:
        log.warning("compile: no C++ compiler was found (CXX, g++, clang++), training runs uncompiled")
    return found


def cpp_compiler() -> str | None:
    """The compiler that torch.compile would call, None where there is none."""
    wanted = os.environ.get("CXX")
    return next(
        (found for name in ([wanted] if wanted else ["g++", "clang++", "c++"]) if (found := shutil.which(name))), None
    )
