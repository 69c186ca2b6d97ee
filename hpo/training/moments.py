"""What the optimizers of Adam's family share: means of gradients and of their squares, and Adam's own step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hpo.lazy import torch
from hpo.training.optimizers import Optimizer
from hpo.training.rules import Numbers, Slots
from hpo.training.slots import OVER_TIME

if TYPE_CHECKING:
    from torch import Tensor


class Moments(Optimizer):
    """Base of optimizers that keep the mean of gradients and of their squares."""

    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients", json_schema_extra=OVER_TIME)
    beta2: float = Field(
        0.999, ge=0, lt=1, description="decay of the mean of their squares", json_schema_extra=OVER_TIME
    )
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the squares")

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del kinds
        return {"mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}

    def moments(self, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Tensor]:
        """Both means after a step; c holds `moment_constants`."""
        mean = slots["mean"].lerp(g, c["mean"])
        square = slots["square"] * c["kept"] + g * g * c["square"]
        return mean, square

    def moment_constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        """What `moments` needs of scalars; `root` corrects the root of the squares, `size` is lr over the mean's."""
        return {
            "mean": 1 - numbers["beta1"],
            "kept": numbers["beta2"],
            "square": 1 - numbers["beta2"],
            "root": (1 - numbers["beta2"] ** clock["step"]) ** 0.5,
            "size": numbers["lr"] / (1 - numbers["beta1"] ** clock["step"]),
            "epsilon": numbers["epsilon"],
        }


class AdamRule(Moments):
    """Adam's step; weight decay is coupled or decoupled as `decouples` says."""

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        return {**self.moment_constants(numbers, clock), **self.decay_constants(numbers)}

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        mean, square = self.moments(g, slots, c)
        kept = {"mean": mean, "square": square}
        if "largest" in slots:
            kept["largest"] = square = slots["largest"].maximum(square)
        return p - mean / (square.sqrt() / c["root"] + c["epsilon"]) * c["size"], kept

    def move(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: dict[str, list[Tensor]],
        numbers: Numbers,
        clock: Numbers,
    ) -> None:
        kernel = torch._fused_adamw_ if self.decouples else torch._fused_adam_
        step = torch.full((), clock["step"], device=parameters[0].device)
        kernel(
            parameters,
            gradients,
            slots["mean"],
            slots["square"],
            slots.get("largest", []),
            [step] * len(parameters),
            lr=numbers["lr"],
            beta1=numbers["beta1"],
            beta2=numbers["beta2"],
            weight_decay=numbers["weight_decay"],
            eps=numbers["epsilon"],
            amsgrad="largest" in slots,
            maximize=False,
        )


class AMSGrad(AdamRule):
    """Adam's step with the switch that both of torch's have."""

    amsgrad: bool = Field(
        False, description="divide by the largest mean of squares so far (Reddi et al. 2018, arXiv:1904.09237)"
    )

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        largest = {"largest": torch.zeros_like(parameter)} if self.amsgrad else {}
        return {**super().slots(parameter, kinds), **largest}
