"""The regularizer `label_smoothing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Now

if TYPE_CHECKING:
    from hpo.training.losses import Loss
    from hpo.training.randomness import Number


@regularizers("label_smoothing")
class LabelSmoothing(Regularizer):
    """Spreads a share of each target over all classes, in training only (Szegedy et al. 2016, arXiv:1512.00567)."""

    main: ClassVar[str] = "share"
    share: float = Field(
        0.0, ge=0, lt=1, description="share of the target that is spread; 0 is off", json_schema_extra=OVER_TIME
    )

    def fits(self, loss: Loss) -> None:
        if self.share and not loss.smooths:
            raise ValueError(f"{self.share} cannot be used with loss {loss.name!r}, which smooths no labels")

    def smoothing(self, now: Now) -> Number:
        return self.at(now)
