"""The regularizer `dropout`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.regularizers import Regularizer, regularizers

if TYPE_CHECKING:
    from torch import nn


@regularizers("dropout")
class Dropout(Regularizer):
    """Sets the rate of every nn.Dropout module, those of a user's own model too (Srivastava et al. 2014, JMLR 15).

    Absent, the modules keep the rates they were built with; an explicit 0 turns them off.
    """

    main: ClassVar[str] = "rate"
    rate: float = Field(0.0, ge=0, lt=1, description="probability that an activation is zeroed; 0 is off")

    def prepare(self, net: nn.Module) -> None:
        places = [module for module in net.modules() if isinstance(module, torch.nn.Dropout)]
        if self.rate and not places:
            raise UserError(f"regularization.dropout: {self.rate} has no effect, the model has no nn.Dropout module")
        for place in places:
            place.p = self.rate
