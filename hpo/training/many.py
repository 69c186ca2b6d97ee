"""`Many`: the tensors of many parameters under one name, so that a rule for one parameter moves all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hpo.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Many:
    """Tensors that are computed with alike: `a * b` is one call of torch._foreach_mul over all of them.

    It stands where an elementwise rule has a Tensor and does what such rules do; the other operand is a Many of as many
    tensors, or a float. Nothing is changed in place.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    def _with(self, function: Callable[..., Sequence[Tensor]], other: Many | float) -> Many:
        return Many(function(self.tensors, other.tensors if isinstance(other, Many) else other))

    def __add__(self, other: Many | float) -> Many:
        return self._with(torch._foreach_add, other)

    def __sub__(self, other: Many | float) -> Many:
        return self._with(torch._foreach_sub, other)

    def __mul__(self, other: Many | float) -> Many:
        return self._with(torch._foreach_mul, other)

    def __truediv__(self, other: Many | float) -> Many:
        return self._with(torch._foreach_div, other)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Many:
        return Many(torch._foreach_neg(self.tensors))

    def abs(self) -> Many:
        """Absolute values."""
        return Many(torch._foreach_abs(self.tensors))

    def sign(self) -> Many:
        """-1, 0 or 1."""
        return Many(torch._foreach_sign(self.tensors))

    def sqrt(self) -> Many:
        """Square roots."""
        return Many(torch._foreach_sqrt(self.tensors))

    def maximum(self, other: Many) -> Many:
        """The larger of two, elementwise."""
        return Many(torch._foreach_maximum(self.tensors, other.tensors))

    def clamp(self, min: float, max: float) -> Many:
        """Values below `min` or above `max` moved there."""
        return Many(torch._foreach_clamp_max(torch._foreach_clamp_min(self.tensors, min), max))

    def lerp(self, end: Many, weight: float) -> Many:
        """self + weight * (end - self)."""
        return Many(torch._foreach_lerp(self.tensors, end.tensors, weight))
