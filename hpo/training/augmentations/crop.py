"""The augmentation `crop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hpo.lazy import torch
from hpo.training.augmentations import Augmenter, augmentations
from hpo.training.numbers import whole
from hpo.training.slots import OVER_TIME, Now

if TYPE_CHECKING:
    from torch import Tensor


@augmentations("crop")
class Crop(Augmenter):
    """Pads images on all sides and cuts the old size out at random: moves them (He et al. 2016, arXiv:1512.03385).

    By whole pixels, each way by any number up to the padding with the same probability; the paper's padding is 4 for
    32x32. A schedule that moves the padding is rounded down.
    """

    main: ClassVar[str] = "padding"
    padding: int = Field(0, ge=0, description="pixels on each side; 0 is off", json_schema_extra=OVER_TIME)
    fill_with: Literal["zero", "reflect"] = Field("zero", description="what the padding holds")

    def augmented(self, x_BCHW: Tensor, now: Now) -> Tensor:
        padding = whole(self.at(now))
        shift_B2 = ((self.uniform(now, (len(x_BCHW), 2)) * (2 * padding + 1)).floor() - padding).long()
        for axis in (2, 3):
            x_BCHW = self._shifted(x_BCHW, shift_B2[:, axis - 2], axis)
        return x_BCHW

    def _shifted(self, x_BCHW: Tensor, shift_B: Tensor, axis: int) -> Tensor:
        """Each image with the row or column at `place + shift` in the place of each."""
        size = x_BCHW.shape[axis]
        own = [-1, 1, size, 1] if axis == 2 else [-1, 1, 1, size]
        from_BS = (torch.arange(size, device=x_BCHW.device) + shift_B[:, None]).view(own)
        if self.fill_with == "reflect":
            period = max(1, 2 * (size - 1))
            from_BS = from_BS % period
            from_BS = torch.minimum(from_BS, period - from_BS)
            return x_BCHW.gather(axis, from_BS.expand_as(x_BCHW))
        moved = x_BCHW.gather(axis, from_BS.clamp(0, size - 1).expand_as(x_BCHW))
        return torch.where((from_BS >= 0) & (from_BS < size), moved, 0.0)
