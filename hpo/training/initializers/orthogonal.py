"""The initializer `orthogonal`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hpo.lazy import torch
from hpo.training.initializers import Initializer, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializers("orthogonal")
class Orthogonal(Initializer):
    """Orthonormal rows or columns, whichever are fewer, times `gain` (Saxe et al. 2014, arXiv:1312.6120)."""

    gain: float = Field(1.0, gt=0, description="length of each row or column")

    def fill(self, weight: Tensor, generator: Generator) -> None:
        torch.nn.init.orthogonal_(weight, self.gain, generator)
