"""The loss `quantile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.losses import Loss, losses
from hpo.training.scores import alike

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.randomness import Number


@losses("quantile")
class Quantile(Loss):
    """The pinball loss, which the `q` quantile of the targets minimizes (Koenker & Bassett 1978, Econometrica 46)."""

    classes: ClassVar[bool | None] = False
    q: float = Field(0.5, gt=0, lt=1, description="share of the targets that lie below what is predicted")

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        del smoothing
        above = target - alike(scores, target)
        return (above * self.q).maximum(above * (self.q - 1)).mean()
