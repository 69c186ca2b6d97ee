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
    from such a module follows it. A model that drops by function and keeps its rate as `drop_rate`, as timm's ResNet
    does, has that set; where it makes a plain number of it first, as ResNet does too, no schedule moves it.
    """

    masks: ClassVar[bool] = True

    main: ClassVar[str] = "rate"
    rate: float = Field(
        0.0, ge=0, lt=1, description="probability that an activation is zeroed; 0 is off", json_schema_extra=OVER_TIME
    )

    def prepare(self, net: nn.Module) -> None:
        from hpo.training.dropout import Rate

        modules = list(net.modules())
        places: list[tuple[nn.Module, str]] = []
        places += [(module, "p") for module in modules if isinstance(module, torch.nn.modules.dropout._DropoutNd)]
        places += [(module, _FIELD) for module in modules if isinstance(vars(module).get(_FIELD), int | float)]
        if self.rate and not places:
            raise UserError(f"regularization.dropout: {self.rate} has no effect, the model has no dropout module")
        for module, field in places:
            setattr(module, field, Rate(self.rate, "regularization.dropout"))


_FIELD = "drop_rate"  # where timm's models keep it
