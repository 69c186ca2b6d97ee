"""The loss `mae`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hpo.training.losses import Loss, losses
from hpo.training.scores import alike

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.randomness import Number


@losses("mae")
class MAE(Loss):
    """Mean absolute error, which the median minimizes."""

    classes: ClassVar[bool | None] = False

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        del smoothing
        return (alike(scores, target) - target).abs().mean()
