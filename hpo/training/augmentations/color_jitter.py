"""The augmentation `color_jitter`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.augmentations import Augmenter, augmentations
from hpo.training.slots import OVER_TIME, Now

if TYPE_CHECKING:
    from torch import Tensor


@augmentations("color_jitter")
class ColorJitter(Augmenter):
    """Changes brightness, contrast and, of three channels, saturation of each image (Howard 2013, arXiv:1312.5402).

    In this order, each by a factor of its own from 1 - spread to 1 + spread: the image, its distance from its mean
    grey, and the distance of its colours from their grey. Nothing is cut off at 0 or 1, as inputs may be standardized.
    """

    stage: ClassVar[int] = 1
    main: ClassVar[str] = "spread"
    spread: float = Field(
        0.0, ge=0, le=1, description="how far the factors may be from 1; 0 is off", json_schema_extra=OVER_TIME
    )

    def augmented(self, x_BCHW: Tensor, now: Now) -> Tensor:
        drawn_B3 = self.uniform(now, (len(x_BCHW), 3))
        factor_B3 = ((2 * drawn_B3 - 1) * self.at(now) + 1).to(x_BCHW.dtype)
        brightness, contrast, saturation = (factor_B3[:, i].view(-1, 1, 1, 1) for i in range(3))
        x_BCHW = x_BCHW * brightness
        mean_B111 = grey(x_BCHW).mean((2, 3), keepdim=True)
        x_BCHW = mean_B111 + (x_BCHW - mean_B111) * contrast
        if x_BCHW.shape[1] != 3:
            return x_BCHW
        grey_B1HW = grey(x_BCHW)
        return grey_B1HW + (x_BCHW - grey_B1HW) * saturation


def grey(x_BCHW: Tensor) -> Tensor:
    """(B, 1, H, W): of red, green and blue as ITU-R BT.601 weighs them, of any other channels their mean."""
    if x_BCHW.shape[1] != 3:
        return x_BCHW.mean(1, keepdim=True)
    weight_3 = torch.tensor([0.299, 0.587, 0.114], dtype=x_BCHW.dtype, device=x_BCHW.device)
    return (x_BCHW * weight_3.view(3, 1, 1)).sum(1, keepdim=True)
