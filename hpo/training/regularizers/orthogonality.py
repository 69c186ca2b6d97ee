"""The regularizer `orthogonality`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.anatomy import layers_of
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Now, Slots, Weights

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("orthogonality")
class Orthogonality(Regularizer):
    """Adds strength * sum ||W W' - 1||² over the matrices of all layers (Brock et al. 2017; Bansal et al. 2018).

    W is (out, in * kernel); whichever of rows and columns are fewer are pulled to be orthonormal (arXiv:1810.09102).
    """

    main: ClassVar[str] = "penalty"
    penalty: float = Field(
        0.0, ge=0, description="factor of the squared distance from orthonormal; 0 is off", json_schema_extra=OVER_TIME
    )

    def fill(self, slots: Slots) -> Slots:
        before = slots.penalty
        layers = layers_of(slots.net)

        def penalty(weights: Weights, loss: Tensor, now: Now) -> Tensor:
            found = [w.of(weights).flatten(1) for layer in layers for w in layer.weights if w.parameter in weights]
            distances = [_distance(matrix) for matrix in found]
            loss = before(weights, loss, now)
            return loss + self.at(now) * torch.stack(distances).sum() if distances else loss

        return replace(slots, penalty=penalty)


def _distance(matrix: Tensor) -> Tensor:
    """||W W' - 1||², with the smaller of both products."""
    few = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return (few @ few.T - torch.eye(len(few), dtype=few.dtype, device=few.device)).square().sum()
