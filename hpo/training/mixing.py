"""What mixup and cutmix share: each example of a batch gets a partner in it, and a part of the partner."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.numbers import larger
from hpo.training.regularizers import Regularizer, shares_of
from hpo.training.slots import OVER_TIME, Now, Slots

if TYPE_CHECKING:
    from torch import Tensor


class Mixing(Regularizer):
    """Base of regularizers that mix examples in pairs, by a share from Beta(alpha, alpha) that is one for a batch.

    Targets that are classes become shares of the classes. What is drawn is named after the entry, so that two of them
    in one training do not draw the same.
    """

    main: ClassVar[str] = "alpha"
    unprivate: ClassVar[str] = "it mixes the examples of a batch"
    alpha: float = Field(
        0.0,
        ge=0,
        description="both parameters of the Beta distribution; 1 is uniform, 0 is off",
        json_schema_extra=OVER_TIME,
    )

    @abstractmethod
    def mixed(self, x_B: Tensor, y_B: Tensor, partner_B: Tensor, now: Now) -> tuple[Tensor, Tensor]:
        """The batch with its partners in it; x_B and y_B are floats, partner_B is a permutation of the batch."""

    def share(self, now: Now) -> Tensor:
        """The share of this step, 0-D."""
        alpha = larger(self.at(now), 1e-3)  # a schedule may end at 0, where Beta ends
        return now.draws.beta(f"{self.name}.share", alpha, alpha)

    def fill(self, slots: Slots) -> Slots:
        before, outputs = slots.mix, slots.outputs

        def mix(x_B: Tensor, y_B: Tensor, now: Now) -> tuple[Tensor, Tensor]:
            x_B, y_B = before(x_B, y_B, now)
            self.needs_floats(x_B)
            partner_B = now.draws.permutation(f"{self.name}.partner", len(x_B))
            return self.mixed(x_B, shares_of(y_B, outputs, x_B.dtype), partner_B, now)

        return replace(slots, mix=mix)
