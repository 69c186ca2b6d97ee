"""The regularizer `gradient_noise`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Compute, Gradients, Now, Slots, Weights

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("gradient_noise")
class GradientNoise(Regularizer):
    """Adds normal noise of variance eta / (1 + step)^gamma to the gradient (Neelakantan et al. 2015, arXiv:1511.06807).

    It is added to what clipping left of the gradient, as in the paper. Each step draws one number a parameter.
    """

    main: ClassVar[str] = "eta"
    eta: float = Field(
        0.0,
        ge=0,
        description="variance at the first step; the paper tries 0.01, 0.3, 1; 0 is off",
        json_schema_extra=OVER_TIME,
    )
    gamma: float = Field(0.55, ge=0, description="how fast the variance falls; 0 keeps it")

    def fill(self, slots: Slots) -> Slots:
        before = slots.gradient
        parts = {name: part for part, (name, _) in enumerate(slots.net.named_parameters())}

        def gradient(compute: Compute, weights: Weights, now: Now) -> tuple[Tensor, Gradients]:
            value, gradients = before(compute, weights, now)
            deviation = (self.at(now) / (1 + now.step) ** self.gamma) ** 0.5
            noise = {name: now.draws.normal("gradient_noise", g.shape, parts[name]) for name, g in gradients.items()}
            return value, {name: g + deviation * noise[name].to(g.dtype) for name, g in gradients.items()}

        return replace(slots, gradient=gradient)
