"""The regularizer `mixup`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.numbers import larger
from hpo.training.regularizers import Regularizer, regularizers, shares_of
from hpo.training.slots import OVER_TIME, Now, Slots

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("mixup")
class Mixup(Regularizer):
    """Trains on sums of pairs of examples, inputs and targets alike (Zhang et al. 2018, arXiv:1710.09412).

    x = share * x + (1 - share) * x of a random partner in the batch, and so y; the share is drawn from
    Beta(alpha, alpha), one for a batch. Targets that are classes become shares of the classes.
    """

    main: ClassVar[str] = "alpha"
    alpha: float = Field(
        0.0,
        ge=0,
        description="both parameters of the Beta distribution, such as 0.2; 1 is uniform, 0 is off",
        json_schema_extra=OVER_TIME,
    )

    def fill(self, slots: Slots) -> Slots:
        before, outputs = slots.mix, slots.outputs

        def mix(x_B: Tensor, y_B: Tensor, now: Now) -> tuple[Tensor, Tensor]:
            x_B, y_B = before(x_B, y_B, now)
            self.needs_floats(x_B)
            y_B = shares_of(y_B, outputs, x_B.dtype)
            alpha = larger(self.at(now), 1e-3)  # a schedule may end at 0, where Beta ends
            share = now.draws.beta("mixup.share", alpha, alpha).to(x_B.dtype)
            partner_B = now.draws.permutation("mixup.partner", len(x_B))
            return x_B[partner_B].lerp(x_B, share), y_B[partner_B].lerp(y_B, share.to(y_B.dtype))

        return replace(slots, mix=mix)
