"""The optimizer `adadelta`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hpo.lazy import torch
from hpo.training.optimizers import EitherDecay, optimizers
from hpo.training.rules import Numbers, Slots

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("adadelta")
class Adadelta(EitherDecay):
    """Steps in the parameters' unit: past steps over past gradients, as torch.optim.Adadelta (arXiv:1212.5701)."""

    lr: float = Field(1.0, gt=0, description="highest factor of its own step; the schedule multiplies it")
    rho: float = Field(0.9, ge=0, lt=1, description="decay of the means of squares")
    epsilon: float = Field(1e-6, gt=0, description="added to the squares before their root")

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del kinds
        return {"square": torch.zeros_like(parameter), "moved": torch.zeros_like(parameter)}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        del clock
        own = {name: numbers[name] for name in ("lr", "rho", "epsilon")}
        return {**own, "taken": 1 - numbers["rho"], **self.decay_constants(numbers)}

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        square = slots["square"] * c["rho"] + g * g * c["taken"]
        step = (slots["moved"] + c["epsilon"]).sqrt() / (square + c["epsilon"]).sqrt() * g
        return p - step * c["lr"], {"square": square, "moved": slots["moved"] * c["rho"] + step * step * c["taken"]}
