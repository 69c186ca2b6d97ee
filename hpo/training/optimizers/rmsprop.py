"""The optimizer `rmsprop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.optimizers import EitherDecay, optimizers
from hpo.training.rules import Numbers, Slots
from hpo.training.slots import OVER_TIME

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("rmsprop")
class RMSprop(EitherDecay):
    """Gradients over the root of their mean square, as torch.optim.RMSprop (Hinton 2012; centered: Graves 2013)."""

    slotless_at_0: ClassVar[tuple[str, ...]] = ("momentum",)

    lr: float = Field(1e-2, gt=0, description="highest learning rate; the schedule multiplies it")
    alpha: float = Field(0.99, ge=0, lt=1, description="decay of the mean of squares")
    momentum: float = Field(
        0.0, ge=0, lt=1, description="share of the last update that is kept; 0 is off", json_schema_extra=OVER_TIME
    )
    centered: bool = Field(False, description="divide by the standard deviation: the squared mean is taken off")
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the squares")

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del kinds
        names = ["square", *["mean"] * self.centered, *["velocity"] * (self.momentum > 0)]
        return {name: torch.zeros_like(parameter) for name in names}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        del clock
        own = {name: numbers[name] for name in ("lr", "alpha", "momentum", "epsilon")}
        return {**own, "taken": 1 - numbers["alpha"], **self.decay_constants(numbers)}

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        kept = {"square": slots["square"] * c["alpha"] + g * g * c["taken"]}
        spread = kept["square"]
        if self.centered:
            kept["mean"] = slots["mean"].lerp(g, c["taken"])
            spread = spread - kept["mean"] * kept["mean"]
        step = g / (spread.sqrt() + c["epsilon"])
        if "velocity" in slots:
            kept["velocity"] = step = slots["velocity"] * c["momentum"] + step
        return p - step * c["lr"], kept
