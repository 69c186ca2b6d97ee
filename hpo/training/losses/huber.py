"""The loss `huber`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.losses import Loss, losses
from hpo.training.scores import alike

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.randomness import Number


@losses("huber")
class Huber(Loss):
    """Half the squared error up to `delta`, linear from there on, so that outliers pull less (Huber 1964)."""

    classes: ClassVar[bool | None] = False
    delta: float = Field(1.0, gt=0, description="error from which the loss is linear")

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        del smoothing
        error = (alike(scores, target) - target).abs()
        near = error.clamp(max=self.delta)
        return (near * (error - near / 2)).mean()
