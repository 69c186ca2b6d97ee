"""The optimizer `adam`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hpo.training import rules
from hpo.training.optimizers import Optimizer, optimizers

if TYPE_CHECKING:
    from torch import nn


@optimizers("adam")
class Adam(Optimizer):
    """Adam, as torch.optim.Adam; weight decay is added to the gradient (Kingma & Ba 2015, arXiv:1412.6980)."""

    weight_decay: float = Field(0.0, ge=0, description="factor of the parameter that is added to its gradient")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the mean of their squares")
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the squares")

    def build(self, parameters: list[nn.Parameter]) -> rules.Rule:
        return rules.Adam(parameters, self.beta1, self.beta2, self.epsilon, self.weight_decay, decoupled=False)
