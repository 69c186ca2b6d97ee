"""The regularizer `gradient_clipping_value`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Compute, Gradients, Now, Slots, Weights

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("gradient_clipping_value")
class GradientClippingValue(Regularizer):
    """Cuts each element of the gradient off at +- a largest value; its direction changes (Mikolov 2012, thesis)."""

    main: ClassVar[str] = "largest"
    largest: float = Field(
        0.0, ge=0, description="largest absolute value of an element; 0 is off", json_schema_extra=OVER_TIME
    )

    def fill(self, slots: Slots) -> Slots:
        before = slots.gradient

        def gradient(compute: Compute, weights: Weights, now: Now) -> tuple[Tensor, Gradients]:
            value, gradients = before(compute, weights, now)
            largest: Any = self.at(now)
            return value, {name: gradient.clamp(-largest, largest) for name, gradient in gradients.items()}

        return replace(slots, gradient=gradient)
