"""The initializer `truncated_normal`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hpo.lazy import torch
from hpo.training.initializers import Initializer, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializers("truncated_normal")
class TruncatedNormal(Initializer):
    """Normal without its tails, drawn anew until it lies within `cut` standard deviations (BERT, arXiv:1810.04805)."""

    std: float = Field(0.02, gt=0, description="standard deviation before the tails are cut")
    cut: float = Field(2.0, gt=0, description="largest distance from 0, in standard deviations")

    def fill(self, weight: Tensor, generator: Generator) -> None:
        bound = self.cut * self.std
        torch.nn.init.trunc_normal_(weight, 0.0, self.std, -bound, bound, generator)
