"""Arithmetic on numbers that are floats in a training by itself, and 0-D tensors where members of a pack differ."""

from __future__ import annotations

from math import floor
from typing import Any

from hpo.lazy import torch


def where(condition: Any, yes: Any, no: Any) -> Any:
    """`yes` or `no`: of floats by a bool, of tensors by a tensor of them; both are computed."""
    return (yes if condition else no) if isinstance(condition, bool) else torch.where(condition, yes, no)


def smaller(first: Any, second: Any) -> Any:
    """The smaller of two, floats or tensors."""
    return where(first < second, first, second)


def larger(first: Any, second: Any) -> Any:
    """The larger of two, floats or tensors."""
    return where(first > second, first, second)


def whole(number: Any) -> Any:
    """The whole number at or below one, as a float or a float32 tensor."""
    return number.floor().to(torch.float32) if isinstance(number, torch.Tensor) else float(floor(number))
