"""The initializer `kaiming_normal`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hpo.lazy import torch
from hpo.training.initializers import Initializer, initializers

if TYPE_CHECKING:
    from torch import Tensor


@initializers("kaiming_normal")
class KaimingNormal(Initializer):
    """Normal with variance gain² / fan, to keep the scale through ReLU layers (He et al. 2015, arXiv:1502.01852)."""

    mode: Literal["fan_in", "fan_out"] = Field("fan_in", description="keep the scale forward (fan_in) or backward")
    negative_slope: float = Field(0.0, ge=0, description="slope a of a leaky ReLU: gain² = 2 / (1 + a²)")

    def fill(self, weight: Tensor) -> None:
        torch.nn.init.kaiming_normal_(weight, a=self.negative_slope, mode=self.mode, nonlinearity="leaky_relu")
