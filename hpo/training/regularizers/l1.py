"""The regularizer `l1`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import Slots

if TYPE_CHECKING:
    from torch import Tensor, nn


@regularizers("l1")
class L1(Regularizer):
    """Adds strength * sum |w| over all trained parameters to the loss (Tibshirani 1996)."""

    main: ClassVar[str] = "penalty"
    penalty: float = Field(0.0, ge=0, description="factor of the sum of absolute values; 0 is off")

    def fill(self, slots: Slots) -> Slots:
        before, factor = slots.penalty, self.penalty

        def penalty(net: nn.Module, loss: Tensor) -> Tensor:
            sums = [p.abs().sum() for p in net.parameters() if p.requires_grad]
            return before(net, loss) + factor * torch.stack(sums).sum()

        return replace(slots, penalty=penalty)
