"""The regularizer `cutmix`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.mixing import Mixing
from hpo.training.regularizers import regularizers

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.slots import Now


@regularizers("cutmix")
class CutMix(Mixing):
    """Pastes a box of one image into another, and mixes the targets by its area (Yun et al. 2019, arXiv:1905.04899).

    The box covers 1 - share of an image, cut off at its edges; the share is drawn from Beta(alpha, alpha), with an
    alpha of 1 in the paper, and share and box are one for a batch. For inputs (B, channels, ...) with one or more
    places behind the channels.
    """

    def mixed(self, x_B: Tensor, y_B: Tensor, partner_B: Tensor, now: Now) -> tuple[Tensor, Tensor]:
        """See Mixing."""
        if x_B.dim() < 3:
            raise UserError(
                f"regularization.cutmix: needs inputs with channels and places, found inputs {tuple(x_B.shape[1:])}"
            )
        inside = self.box(x_B, now)
        area = inside.to(y_B.dtype).mean()
        return torch.where(inside, x_B[partner_B], x_B), y_B.lerp(y_B[partner_B], area)

    def box(self, x_B: Tensor, now: Now) -> Tensor:
        """Which places of an image (1, *places) come from the partner."""
        share, sizes = self.share(now), x_B.shape[2:]
        # the side of a box of 1 - share of the area, for any number of dimensions
        side = (1 - share) ** (1 / len(sizes))
        centres = now.draws.uniform("cutmix.centre", (len(sizes),))
        inside = torch.ones(1, *sizes, dtype=torch.bool, device=x_B.device)
        for axis, size in enumerate(sizes):
            half, centre = (side * size).floor() / 2, (centres[axis] * size).floor()
            place = torch.arange(size, device=x_B.device)
            within = (place >= (centre - half).floor()) & (place < (centre + half).floor())
            inside = inside & within.view(-1, *[1] * (len(sizes) - axis - 1))
        return inside
