"""The augmentation `rotate`."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.augmentations import Augmenter, augmentations
from hpo.training.slots import OVER_TIME, Now

if TYPE_CHECKING:
    from torch import Tensor


@augmentations("rotate")
class Rotate(Augmenter):
    """Turns each image about its centre by an angle of its own (Simard et al. 2003, best practices for documents).

    The angle is uniform up to `degrees` either way. Values between pixels are interpolated linearly, and what lies
    outside of the image is 0.
    """

    main: ClassVar[str] = "degrees"
    degrees: float = Field(
        0.0, ge=0, le=180, description="largest angle either way; 0 is off", json_schema_extra=OVER_TIME
    )

    def augmented(self, x_BCHW: Tensor, now: Now) -> Tensor:
        angle_B = (2 * self.uniform(now, (len(x_BCHW),)) - 1) * (self.at(now) * (pi / 180))
        return rotated(x_BCHW, angle_B.to(x_BCHW.dtype))


def rotated(x_BCHW: Tensor, angle_B: Tensor) -> Tensor:
    """Each image turned counterclockwise by its angle in radians."""
    height, width = x_BCHW.shape[2:]
    y_H1 = torch.arange(height, device=x_BCHW.device)[:, None] - (height - 1) / 2
    x_1W = torch.arange(width, device=x_BCHW.device)[None] - (width - 1) / 2
    cos_B11, sin_B11 = angle_B.cos().view(-1, 1, 1), angle_B.sin().view(-1, 1, 1)
    # where each pixel comes from, as grid_sample counts: -1 and 1 are the outer edges of the image
    from_x_BHW = (cos_B11 * x_1W - sin_B11 * y_H1) * (2 / width)
    from_y_BHW = (sin_B11 * x_1W + cos_B11 * y_H1) * (2 / height)
    grid_BHW2 = torch.stack([from_x_BHW, from_y_BHW], -1)
    return torch.nn.functional.grid_sample(x_BCHW, grid_BHW2, "bilinear", "zeros", align_corners=False)
