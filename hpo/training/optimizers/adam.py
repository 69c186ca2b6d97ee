"""The optimizer `adam`."""

from __future__ import annotations

from pydantic import Field

from hpo.training.moments import AMSGrad
from hpo.training.optimizers import optimizers
from hpo.training.slots import OVER_TIME


@optimizers("adam")
class Adam(AMSGrad):
    """Adam, as torch.optim.Adam; weight decay is added to the gradient (Kingma & Ba 2015, arXiv:1412.6980)."""

    weight_decay: float = Field(
        0.0, ge=0, description="factor of the parameter that is added to its gradient", json_schema_extra=OVER_TIME
    )
