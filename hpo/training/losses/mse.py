"""The loss `mse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hpo.training.losses import Loss, losses
from hpo.training.scores import alike

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.randomness import Number


@losses("mse")
class MSE(Loss):
    """Mean squared error, which the mean minimizes."""

    classes: ClassVar[bool | None] = False

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        del smoothing
        return (alike(scores, target) - target).square().mean()
