"""The optimizer `adamw`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hpo.training import rules
from hpo.training.optimizers import Optimizer, optimizers

if TYPE_CHECKING:
    from torch import nn


@optimizers("adamw")
class AdamW(Optimizer):
    """Adam with decoupled weight decay, as torch.optim.AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

    weight_decay: float = Field(0.01, ge=0, description="each step shrinks every parameter by lr * weight_decay")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the mean of their squares")
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the squares")

    def build(self, parameters: list[nn.Parameter]) -> rules.Rule:
        return rules.Adam(parameters, self.beta1, self.beta2, self.epsilon, self.weight_decay, decoupled=True)
