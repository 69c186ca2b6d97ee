"""The optimizer `adagrad`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hpo.lazy import torch
from hpo.training.optimizers import EitherDecay, optimizers
from hpo.training.rules import Numbers, Slots

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("adagrad")
class Adagrad(EitherDecay):
    """Gradients over the root of the sum of all their squares, as torch.optim.Adagrad (Duchi et al. 2011, JMLR 12)."""

    lr: float = Field(1e-2, gt=0, description="highest learning rate; the schedule multiplies it")
    lr_decay: float = Field(0.0, ge=0, description="the t-th step is divided by 1 + (t - 1) * lr_decay")
    initial_sum: float = Field(0.0, ge=0, description="what the sums of squares begin at")
    epsilon: float = Field(1e-10, gt=0, description="added to the root of the sums")

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del kinds
        return {"sum": torch.full_like(parameter, self.initial_sum)}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        size = numbers["lr"] / (1 + (clock["step"] - 1) * numbers["lr_decay"])
        return {"size": size, "epsilon": numbers["epsilon"], **self.decay_constants(numbers)}

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        total = slots["sum"] + g * g
        return p - g / (total.sqrt() + c["epsilon"]) * c["size"], {"sum": total}
