"""The regularizer `elastic_net`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Now, Slots, Weights

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("elastic_net")
class ElasticNet(Regularizer):
    """Adds strength * (ratio sum |w| + (1 - ratio) / 2 sum w²) over all trained parameters (Zou & Hastie 2005)."""

    main: ClassVar[str] = "penalty"
    penalty: float = Field(0.0, ge=0, description="factor of both sums; 0 is off", json_schema_extra=OVER_TIME)
    l1_ratio: float = Field(0.5, ge=0, le=1, description="share of the absolute values; the rest is of the squares")

    def fill(self, slots: Slots) -> Slots:
        before = slots.penalty

        def penalty(weights: Weights, loss: Tensor, now: Now) -> Tensor:
            absolute = torch.stack([weight.abs().sum() for weight in weights.values()]).sum()
            squares = torch.stack([weight.square().sum() for weight in weights.values()]).sum()
            both = self.l1_ratio * absolute + (1 - self.l1_ratio) / 2 * squares
            return before(weights, loss, now) + self.at(now) * both

        return replace(slots, penalty=penalty)
