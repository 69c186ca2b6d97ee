"""The optimizer `lion`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hpo.lazy import torch
from hpo.training.optimizers import Optimizer, optimizers
from hpo.training.rules import Numbers, Slots
from hpo.training.slots import OVER_TIME

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("lion")
class Lion(Optimizer):
    """Steps of one size along the sign of the momentum; decoupled weight decay (Chen et al. 2023, arXiv:2302.06675).

    Its authors take a learning rate of a third to a tenth of AdamW's, and a weight decay larger by as much.
    """

    lr: float = Field(1e-4, gt=0, description="highest learning rate; the schedule multiplies it")
    weight_decay: float = Field(
        0.0, ge=0, description="each step shrinks parameters by lr * weight_decay", json_schema_extra=OVER_TIME
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="share of the mean in the step", json_schema_extra=OVER_TIME)
    beta2: float = Field(0.99, ge=0, lt=1, description="decay of the mean of gradients", json_schema_extra=OVER_TIME)

    @property
    def decouples(self) -> bool:
        return True

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del kinds
        return {"mean": torch.zeros_like(parameter)}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        del clock
        taken = {"step": 1 - numbers["beta1"], "mean": 1 - numbers["beta2"]}
        return {"lr": numbers["lr"], **taken, **self.decay_constants(numbers)}

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        step = slots["mean"].lerp(g, c["step"]).sign()
        return p - step * c["lr"], {"mean": slots["mean"].lerp(g, c["mean"])}
