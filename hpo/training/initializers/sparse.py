"""The initializer `sparse`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from hpo.lazy import torch
from hpo.training.initializers import Initializer, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializers("sparse")
class Sparse(Initializer):
    """Normal, with a share of each column set to 0 (Martens 2010, ICML); a kernel's inputs and places are columns."""

    sparsity: float = Field(0.9, ge=0, lt=1, description="share of the outgoing weights of each input that are 0")
    std: float = Field(0.01, gt=0, description="standard deviation of the others")

    def fill(self, weight: Tensor, generator: Generator) -> None:
        # torch.nn.init.sparse_ draws the places from the global generator
        matrix = weight.normal_(0.0, self.std, generator=generator).flatten(1)
        zeros = math.ceil(self.sparsity * len(matrix))
        places = torch.rand(matrix.shape, generator=generator).argsort(0)[:zeros]
        matrix.scatter_(0, places, 0.0)
