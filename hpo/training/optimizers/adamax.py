"""The optimizer `adamax`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hpo.lazy import torch
from hpo.training.optimizers import EitherDecay, optimizers
from hpo.training.rules import Numbers, Slots
from hpo.training.slots import OVER_TIME

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("adamax")
class Adamax(EitherDecay):
    """Adam with the largest gradient in place of the root of squares, as torch.optim.Adamax (arXiv:1412.6980)."""

    lr: float = Field(2e-3, gt=0, description="highest learning rate; the schedule multiplies it")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients", json_schema_extra=OVER_TIME)
    beta2: float = Field(
        0.999, ge=0, lt=1, description="decay of the largest absolute gradient", json_schema_extra=OVER_TIME
    )
    epsilon: float = Field(1e-8, gt=0, description="added to absolute gradients")

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del kinds
        return {"mean": torch.zeros_like(parameter), "largest": torch.zeros_like(parameter)}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        return {
            "mean": 1 - numbers["beta1"],
            "kept": numbers["beta2"],
            "epsilon": numbers["epsilon"],
            "size": numbers["lr"] / (1 - numbers["beta1"] ** clock["step"]),
            **self.decay_constants(numbers),
        }

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        mean = slots["mean"].lerp(g, c["mean"])
        largest = (slots["largest"] * c["kept"]).maximum(g.abs() + c["epsilon"])
        return p - mean / largest * c["size"], {"mean": mean, "largest": largest}
