"""The regularizer `sam`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Compute, Gradients, Now, Slots, Weights

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("sam")
class SAM(Regularizer):
    """Sharpness-aware minimization: the gradient at the worst weights nearby (Foret et al. 2021, arXiv:2010.01412).

    The weights are moved by rho along the gradient, and the gradient there is what the optimizer gets: two forward and
    backward passes a step. Both see the same batch, and the same dropout where that is drawn by the step; the
    statistics of batch norms are counted in the first pass only. What else is done to gradients, clipping and noise, is
    done to the second one.
    """

    main: ClassVar[str] = "rho"
    unprivate: ClassVar[str] = "its way uphill is a gradient without noise"
    rho: float = Field(
        0.0, ge=0, description="distance to the weights whose gradient is taken; 0 is off", json_schema_extra=OVER_TIME
    )

    def fill(self, slots: Slots) -> Slots:
        before = slots.gradient

        def gradient(compute: Compute, weights: Weights, now: Now) -> tuple[Tensor, Gradients]:
            value, uphill = compute(weights)
            norms = [torch.linalg.vector_norm(gradient) for gradient in uphill.values()]
            scale = self.at(now) / (torch.linalg.vector_norm(torch.stack(norms)) + 1e-12)

            def nearby(weights: Weights) -> tuple[Tensor, Gradients]:
                moved = {name: w.detach() + scale * uphill[name] for name, w in weights.items() if name in uphill}
                return compute({**weights, **moved})

            _, gradients = before(nearby, weights, now)
            return value, gradients

        return replace(slots, gradient=gradient)
