"""The regularizer `spectral`."""

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


@regularizers("spectral")
class Spectral(Regularizer):
    """Adds strength / 2 * sum of squared largest singular values of the layers' matrices (Yoshida & Miyato 2017).

    W is (out, in * kernel); its largest singular value comes from power iteration (arXiv:1705.10941), begun at a random
    vector of its own at every step, so that it hangs on the weights and the step alone and nothing is carried over.
    """

    main: ClassVar[str] = "penalty"
    penalty: float = Field(
        0.0, ge=0, description="factor of the squared largest singular values; 0 is off", json_schema_extra=OVER_TIME
    )
    iterations: int = Field(8, ge=1, description="power iterations a step; each is two products with the matrix")

    def fill(self, slots: Slots) -> Slots:
        before = slots.penalty
        layers = layers_of(slots.net)

        def penalty(weights: Weights, loss: Tensor, now: Now) -> Tensor:
            found = [w.of(weights).flatten(1) for layer in layers for w in layer.weights if w.parameter in weights]
            squares = [self.largest(matrix, now, part).square() for part, matrix in enumerate(found)]
            loss = before(weights, loss, now)
            return loss + self.at(now) / 2 * torch.stack(squares).sum() if squares else loss

        return replace(slots, penalty=penalty)

    def largest(self, matrix: Tensor, now: Now, part: int) -> Tensor:
        """The largest singular value of one matrix, never more than it is; its gradient is that of u' W v."""
        fixed = matrix.detach()
        right = now.draws.normal("spectral", (matrix.shape[1],), part).to(matrix.dtype)
        for _ in range(self.iterations):
            right = torch.nn.functional.normalize(fixed.T @ (fixed @ right), dim=0)
        left = torch.nn.functional.normalize(fixed @ right, dim=0)
        return left @ (matrix @ right)
