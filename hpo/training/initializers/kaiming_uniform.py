"""The initializer `kaiming_uniform`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.lazy import torch
from hpo.training.initializers import ForActivation, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializers("kaiming_uniform")
class KaimingUniform(ForActivation):
    """Uniform with variance gain² / fan, to keep the scale through ReLU layers (He et al. 2015, arXiv:1502.01852)."""

    def fill(self, weight: Tensor, generator: Generator) -> None:
        torch.nn.init.kaiming_uniform_(weight, self.negative_slope, self.mode, self.nonlinearity, generator)
