"""The optimizer `nadam`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hpo.training.moments import Moments
from hpo.training.optimizers import EitherDecay, optimizers
from hpo.training.rules import Numbers, Slots

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("nadam")
class NAdam(EitherDecay, Moments):
    """Adam with Nesterov momentum that grows with the steps, as torch.optim.NAdam (Dozat 2016, ICLR workshop)."""

    lr: float = Field(2e-3, gt=0, description="highest learning rate; the schedule multiplies it")
    momentum_decay: float = Field(4e-3, ge=0, description="how fast the momentum grows from half of beta1 to beta1")

    def clock(self) -> dict[str, float]:
        return {"step": 0.0, "product": 1.0}

    def tick(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        step = clock["step"] + 1
        return {"step": step, "product": clock["product"] * _momentum(numbers, step)}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        now, after = _momentum(numbers, clock["step"]), _momentum(numbers, clock["step"] + 1)
        return {
            **self.moment_constants(numbers, clock),
            **self.decay_constants(numbers),
            "ahead": numbers["lr"] * (1 - now) / (1 - clock["product"]),
            "along": numbers["lr"] * after / (1 - clock["product"] * after),
        }

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        mean, square = self.moments(g, slots, c)
        step = (g * c["ahead"] + mean * c["along"]) / (square.sqrt() / c["root"] + c["epsilon"])
        return p - step, {"mean": mean, "square": square}


def _momentum(numbers: Numbers, step: Any) -> Any:
    return numbers["beta1"] * (1 - 0.5 * 0.96 ** (step * numbers["momentum_decay"]))
