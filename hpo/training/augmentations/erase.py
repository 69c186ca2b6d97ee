"""The augmentation `erase`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.augmentations import Augmenter, augmentations
from hpo.training.slots import OVER_TIME, Now

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 0.02  # of an image, in the paper
_RATIO = 0.3  # of the sides, down to this or up to its inverse


@augmentations("erase")
class Erase(Augmenter):
    """Overwrites a random rectangle of an image with one value (random erasing, Zhong et al. 2020, arXiv:1708.04896).

    Its area is uniform from 2 % of the image to `largest`, the ratio of its sides from 0.3 to 1 / 0.3, as in the paper;
    sides that are longer than the image are cut to it, where the paper draws again.
    """

    stage: ClassVar[int] = 2
    main: ClassVar[str] = "probability"
    probability: float = Field(
        0.0, ge=0, le=1, description="that an image loses a rectangle; 0 is off", json_schema_extra=OVER_TIME
    )
    largest: float = Field(0.4, ge=_SMALLEST, le=1, description="largest share of an image that is overwritten")
    value: float = Field(0.0, description="what is written there, in the inputs' own unit")

    def augmented(self, x_BCHW: Tensor, now: Now) -> Tensor:
        height, width = x_BCHW.shape[2:]
        chance_B, size_B, shape_B, *place = self.uniform(now, (len(x_BCHW), 5)).unbind(1)
        area_B = (_SMALLEST + size_B * (self.largest - _SMALLEST)) * height * width
        ratio_B = _RATIO + shape_B * (1 / _RATIO - _RATIO)
        sides = ((area_B * ratio_B).sqrt(), (area_B / ratio_B).sqrt())
        rows_BH, columns_BW = (
            _within(side_B, place_B, size) for side_B, place_B, size in zip(sides, place, (height, width), strict=True)
        )
        erased_B = chance_B < self.at(now)
        erased_BHW = erased_B.view(-1, 1, 1) & rows_BH[:, :, None] & columns_BW[:, None, :]
        return torch.where(erased_BHW[:, None], self.value, x_BCHW)


def _within(side_B: Tensor, place_B: Tensor, size: int) -> Tensor:
    """(B, size): which of the rows, or columns, lie in the rectangle."""
    side_B1 = side_B.round().clamp(1, size)[:, None]
    first_B1 = (place_B[:, None] * (size - side_B1 + 1)).floor()
    index_S = torch.arange(size, device=side_B.device)
    return (index_S >= first_B1) & (index_S < first_B1 + side_B1)
