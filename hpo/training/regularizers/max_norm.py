"""The regularizer `max_norm`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.anatomy import Weight, layers_of
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Now, Slots, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.randomness import Number


@regularizers("max_norm")
class MaxNorm(Regularizer):
    """Scales each unit's incoming weights down to a largest norm after every step (Srivastava et al. 2014, JMLR 15).

    For linear, convolution and recurrent layers: one norm for each output; biases, norms and embeddings are left alone.
    """

    main: ClassVar[str] = "largest"
    largest: float = Field(
        0.0,
        ge=0,
        description="largest Euclidean norm of a unit's incoming weights; 0 is off",
        json_schema_extra=OVER_TIME,
    )

    def fill(self, slots: Slots) -> Slots:
        before = slots.bound
        trained = {name for name, p in slots.net.named_parameters() if p.requires_grad}
        held = [w for layer in layers_of(slots.net) for w in layer.weights if w.parameter in trained]
        if not held:
            raise UserError(
                f"regularization.max_norm: {self.largest} has no effect, the model has no layer with weights"
            )

        def bound(weights: Weights, now: Now) -> Weights:
            weights = before(weights, now)
            fresh = {name: weights[name].clone() for name in dict.fromkeys(weight.parameter for weight in held)}
            for weight in held:
                _hold(weight, fresh[weight.parameter], self.at(now))
            return {**weights, **fresh}

        return replace(slots, bound=bound)


def _hold(weight: Weight, parameter: Tensor, largest: Number) -> None:
    """Scale the rows of one weight, in its place in a parameter."""
    view = weight.view(parameter)
    inputs = tuple(range(view.dim() - len(weight.shape) + 1, view.dim()))
    norms = torch.linalg.vector_norm(view, dim=inputs, keepdim=True)
    view.mul_((largest / norms.clamp(min=1e-12)).clamp(max=1.0))
