"""The augmentation `flip`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.augmentations import Augmenter, augmentations
from hpo.training.slots import OVER_TIME, Now

if TYPE_CHECKING:
    from torch import Tensor


@augmentations("flip")
class Flip(Augmenter):
    """Mirrors images left to right, for things that look the same in a mirror (Krizhevsky et al. 2012)."""

    main: ClassVar[str] = "probability"
    probability: float = Field(
        0.0, ge=0, le=1, description="that an image is mirrored; 0 is off", json_schema_extra=OVER_TIME
    )

    def augmented(self, x_BCHW: Tensor, now: Now) -> Tensor:
        flipped_B = self.uniform(now, (len(x_BCHW),)) < self.at(now)
        return torch.where(flipped_B.view(-1, 1, 1, 1), x_BCHW.flip(-1), x_BCHW)
