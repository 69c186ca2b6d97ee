"""The loss `smooth_l1`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.losses import Loss, losses
from hpo.training.scores import alike

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.randomness import Number


@losses("smooth_l1")
class SmoothL1(Loss):
    """Absolute error rounded off below `beta`: Huber's loss over its bound (Girshick 2015, arXiv:1504.08083)."""

    classes: ClassVar[bool | None] = False
    beta: float = Field(1.0, gt=0, description="error below which the loss is quadratic")

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        del smoothing
        error = (alike(scores, target) - target).abs()
        near = error.clamp(max=self.beta)
        return (near * (error - near / 2)).mean() / self.beta
