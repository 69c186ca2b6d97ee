"""The optimizer `sgd`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from hpo.lazy import torch
from hpo.training.numbers import where
from hpo.training.optimizers import EitherDecay, optimizers
from hpo.training.rules import Numbers, Slots
from hpo.training.slots import OVER_TIME

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("sgd")
class SGD(EitherDecay):
    """Stochastic gradient descent with momentum, as torch.optim.SGD; decoupled: SGDW of arXiv:1711.05101."""

    slotless_at_0: ClassVar[tuple[str, ...]] = ("momentum",)

    lr: float = Field(0.1, gt=0, description="highest learning rate; the schedule multiplies it")
    momentum: float = Field(
        0.9, ge=0, lt=1, description="share of the last update that is kept; 0 is off", json_schema_extra=OVER_TIME
    )
    dampening: float = Field(0.0, ge=0, lt=1, description="share of each gradient that the momentum leaves out")
    nesterov: bool = Field(False, description="look ahead along the momentum (Sutskever et al. 2013, ICML)")

    @field_validator("nesterov")
    @classmethod
    def _nesterov_needs_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("needs a momentum above 0")
        if nesterov and info.data.get("dampening"):
            raise ValueError("needs a dampening of 0")
        return nesterov

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del kinds
        return {"velocity": torch.zeros_like(parameter)} if self.momentum else {}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        # the first gradient is taken whole, as torch does
        taken = where(clock["step"] == 1, 1.0, 1 - numbers["dampening"])
        return {"lr": numbers["lr"], "momentum": numbers["momentum"], "taken": taken, **self.decay_constants(numbers)}

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        if not slots:
            return p - g * c["lr"], {}
        velocity = slots["velocity"] * c["momentum"] + g * c["taken"]
        step = g + velocity * c["momentum"] if self.nesterov else velocity
        return p - step * c["lr"], {"velocity": velocity}

    def move(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: dict[str, list[Tensor]],
        numbers: Numbers,
        clock: Numbers,
    ) -> None:
        if self.decoupled and numbers["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - numbers["lr"] * numbers["weight_decay"])
        torch._fused_sgd_(
            parameters,
            gradients,
            slots.get("velocity", []),
            weight_decay=0.0 if self.decoupled else numbers["weight_decay"],
            momentum=numbers["momentum"] if slots else 0.0,
            lr=numbers["lr"],
            dampening=numbers["dampening"],
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=clock["step"] == 1,
        )
