"""The regularizer `cutmix`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.numbers import larger
from hpo.training.regularizers import Regularizer, regularizers, shares_of
from hpo.training.slots import OVER_TIME, Now, Slots

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("cutmix")
class CutMix(Regularizer):
    """Pastes a box of one image into another, and mixes the targets by its area (Yun et al. 2019, arXiv:1905.04899).

    The box covers 1 - share of an image, cut off at its edges; the share is drawn from Beta(alpha, alpha), and share
    and box are one for a batch. For inputs (B, channels, ...) with one or more places behind the channels.
    """

    main: ClassVar[str] = "alpha"
    alpha: float = Field(
        0.0,
        ge=0,
        description="both parameters of the Beta distribution; 1 is uniform, as in the paper; 0 is off",
        json_schema_extra=OVER_TIME,
    )

    def fill(self, slots: Slots) -> Slots:
        before, outputs = slots.mix, slots.outputs

        def mix(x_B: Tensor, y_B: Tensor, now: Now) -> tuple[Tensor, Tensor]:
            x_B, y_B = before(x_B, y_B, now)
            self.needs_floats(x_B)
            if x_B.dim() < 3:
                raise UserError(
                    f"regularization.cutmix: needs inputs with channels and places, found inputs {tuple(x_B.shape[1:])}"
                )
            inside = self.box(x_B, now)
            partner_B = now.draws.permutation("cutmix.partner", len(x_B))
            y_B = shares_of(y_B, outputs, x_B.dtype)
            area = inside.to(y_B.dtype).mean()
            return torch.where(inside, x_B[partner_B], x_B), y_B.lerp(y_B[partner_B], area)

        return replace(slots, mix=mix)

    def box(self, x_B: Tensor, now: Now) -> Tensor:
        """Which places of an image (1, *places) come from the partner."""
        alpha = larger(self.at(now), 1e-3)  # a schedule may end at 0, where Beta ends
        share = now.draws.beta("cutmix.share", alpha, alpha)
        sizes = x_B.shape[2:]
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
