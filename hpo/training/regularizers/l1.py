"""The regularizer `l1`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Now, Slots, Weights

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("l1")
class L1(Regularizer):
    """Adds strength * sum |w| over all trained parameters to the loss (Tibshirani 1996)."""

    main: ClassVar[str] = "penalty"
    penalty: float = Field(
        0.0, ge=0, description="factor of the sum of absolute values; 0 is off", json_schema_extra=OVER_TIME
    )

    def fill(self, slots: Slots) -> Slots:
        before = slots.penalty

        def penalty(weights: Weights, loss: Tensor, now: Now) -> Tensor:
            sums = [weight.abs().sum() for weight in weights.values()]
            return before(weights, loss, now) + self.at(now) * torch.stack(sums).sum()

        return replace(slots, penalty=penalty)
