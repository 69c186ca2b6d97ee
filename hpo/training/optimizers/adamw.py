"""The optimizer `adamw`."""

from __future__ import annotations

from pydantic import Field

from hpo.training.moments import AMSGrad
from hpo.training.optimizers import optimizers
from hpo.training.slots import OVER_TIME


@optimizers("adamw")
class AdamW(AMSGrad):
    """Adam with decoupled weight decay, as torch.optim.AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

    weight_decay: float = Field(
        0.01, ge=0, description="each step shrinks parameters by lr * weight_decay", json_schema_extra=OVER_TIME
    )

    @property
    def decouples(self) -> bool:
        return True
