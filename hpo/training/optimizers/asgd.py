"""The optimizer `asgd`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hpo.training.optimizers import EitherDecay, optimizers
from hpo.training.rules import Numbers, Slots

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("asgd")
class ASGD(EitherDecay):
    """Gradient steps that shorten as averaged SGD wants them, as torch.optim.ASGD (Polyak & Juditsky 1992, SIAM).

    The average itself is not kept here, as nothing would read it: averaging of weights is a regularizer. torch's takes
    the learning rate of the step before; here a step's own is taken.
    """

    lr: float = Field(1e-2, gt=0, description="highest learning rate; the schedule multiplies it")
    shortening: float = Field(1e-4, ge=0, description="lambda: the t-th step is lr / (1 + lambda * lr * (t - 1))^power")
    power: float = Field(0.75, ge=0, description="power by which steps shorten")

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del parameter, kinds
        return {}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        lr, shortening = numbers["lr"], numbers["shortening"]
        size = lr / (1 + shortening * lr * (clock["step"] - 1)) ** numbers["power"]
        return {"size": size, "shrink": 1 - shortening * size, **self.decay_constants(numbers)}

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        return p * c["shrink"] - g * c["size"], slots
