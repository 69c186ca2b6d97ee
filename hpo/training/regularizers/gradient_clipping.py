"""The regularizer `gradient_clipping`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Compute, Gradients, Now, Slots, Weights

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("gradient_clipping")
class GradientClipping(Regularizer):
    """Scales the whole gradient down to a largest norm (Pascanu et al. 2013, arXiv:1211.5063)."""

    main: ClassVar[str] = "max_norm"
    max_norm: float = Field(
        0.0, ge=0, description="largest norm of all gradients together; 0 is off", json_schema_extra=OVER_TIME
    )
    norm: float = Field(2.0, gt=0, description="order of the norm: 2 is Euclidean, 1 the sum of absolute values")

    def fill(self, slots: Slots) -> Slots:
        before = slots.gradient

        def gradient(compute: Compute, weights: Weights, now: Now) -> tuple[Tensor, Gradients]:
            value, gradients = before(compute, weights, now)
            norms = [torch.linalg.vector_norm(gradient, self.norm) for gradient in gradients.values()]
            whole = torch.linalg.vector_norm(torch.stack(norms), self.norm)
            factor = (self.at(now) / (whole + 1e-6)).clamp(max=1.0)
            return value, {name: gradient * factor for name, gradient in gradients.items()}

        return replace(slots, gradient=gradient)
