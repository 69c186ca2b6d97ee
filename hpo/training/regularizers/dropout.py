"""The regularizer `dropout`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME

if TYPE_CHECKING:
    from torch import nn


@regularizers("dropout")
class Dropout(Regularizer):
    """Sets the rate of every dropout module, those of a user's own model too (Srivastava et al. 2014, JMLR 15).

    Absent, the modules keep the rates they were built with; an explicit 0 turns them off. Attention that reads its rate
    from such a module follows it.
    """

    masks: ClassVar[bool] = True

    main: ClassVar[str] = "rate"
    rate: float = Field(
        0.0, ge=0, lt=1, description="probability that an activation is zeroed; 0 is off", json_schema_extra=OVER_TIME
    )

    def prepare(self, net: nn.Module) -> None:
        from hpo.training.dropout import Rate

        places = [module for module in net.modules() if isinstance(module, torch.nn.modules.dropout._DropoutNd)]
        if self.rate and not places:
            raise UserError(f"regularization.dropout: {self.rate} has no effect, the model has no dropout module")
        for place in places:
            place.p = Rate(self.rate, "regularization.dropout")
