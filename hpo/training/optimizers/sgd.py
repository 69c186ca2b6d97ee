"""The optimizer `sgd`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, ValidationInfo, field_validator

from hpo.training import rules
from hpo.training.optimizers import Optimizer, optimizers

if TYPE_CHECKING:
    from torch import nn


@optimizers("sgd")
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD; weight decay is added to the gradient."""

    lr: float = Field(0.1, gt=0, description="highest learning rate; the schedule multiplies it")
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the last update that is kept; 0 is off")
    nesterov: bool = Field(False, description="look ahead along the momentum (Sutskever et al. 2013, ICML)")

    @field_validator("nesterov")
    @classmethod
    def _nesterov_needs_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("needs a momentum above 0")
        return nesterov

    def build(self, parameters: list[nn.Parameter]) -> rules.Rule:
        return rules.SGD(parameters, self.momentum, self.nesterov, self.weight_decay)
