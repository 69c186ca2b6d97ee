"""The initializer `xavier_normal`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hpo.lazy import torch
from hpo.training.initializers import Initializer, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializers("xavier_normal")
class XavierNormal(Initializer):
    """Normal with variance 2 gain² / (fan in + fan out) (Glorot & Bengio 2010, AISTATS)."""

    gain: float = Field(1.0, gt=0, description="factor of the standard deviation")

    def fill(self, weight: Tensor, generator: Generator) -> None:
        torch.nn.init.xavier_normal_(weight, self.gain, generator)
