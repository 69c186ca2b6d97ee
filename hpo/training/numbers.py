"""Arithmetic on numbers that are floats in a training by itself, and 0-D tensors where members of a pack differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.randomness import Number


def choose(condition: bool | Tensor, yes: Number, no: Number) -> Number:
    """`yes` where the condition holds, otherwise `no`; both are computed."""
    if isinstance(condition, torch.Tensor):
        return torch.where(condition, yes, no)
    return yes if condition else no


def larger(a: Number, b: Number) -> Number:
    """The larger of two."""
    return choose(a > b, a, b)
