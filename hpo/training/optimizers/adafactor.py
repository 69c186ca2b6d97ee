"""The optimizer `adafactor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.numbers import smaller
from hpo.training.optimizers import Optimizer, optimizers
from hpo.training.rules import Numbers, Slots
from hpo.training.slots import OVER_TIME

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("adafactor")
class Adafactor(Optimizer):
    """Adam's squares kept as one row and one column a matrix, as torch.optim.Adafactor (arXiv:1804.04235).

    Steps are in multiples of each parameter's own size, and their root mean square is at most `clip`.
    """

    elementwise: ClassVar[bool] = False
    lr: float = Field(1e-2, gt=0, description="highest relative step; the schedule multiplies it")
    weight_decay: float = Field(
        0.0, ge=0, description="each step shrinks parameters by lr * weight_decay", json_schema_extra=OVER_TIME
    )
    beta2_decay: float = Field(-0.8, le=0, description="the mean of squares keeps 1 - t^beta2_decay at step t")
    clip: float = Field(1.0, ge=1, description="largest root mean square of a step before it is scaled")
    epsilon: float = Field(2.0**-23, gt=0, description="smallest root of the squares; 2^-23 is float32's epsilon")
    smallest_size: float = Field(1e-3, gt=0, description="smallest size that a parameter counts as having")

    @property
    def decouples(self) -> bool:
        return True

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del kinds
        if parameter.dim() < 2:
            return {"square": torch.zeros_like(parameter)}
        zero = torch.zeros_like(parameter)
        return {"row": zero[..., :1].clone(), "column": zero[..., :1, :].clone()}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        return {
            "taken": clock["step"] ** numbers["beta2_decay"],
            "relative": smaller(numbers["lr"], clock["step"] ** -0.5),
            **{name: numbers[name] for name in ("clip", "epsilon", "smallest_size")},
            **self.decay_constants(numbers),
        }

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        size = _root_mean_square(p).clamp(min=c["smallest_size"]) * c["relative"]
        p, g = self.decay(p, g, c)
        square, kept = self._squares(g, slots, c)
        step = g / square.sqrt().clamp(min=c["epsilon"])
        excess = (_root_mean_square(step) / c["clip"]).clamp(min=1.0)
        return p - step * (size / excess), kept

    def _squares(self, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        if "square" in slots:
            square = slots["square"].lerp(g * g, c["taken"])
            return square, {"square": square}
        row = slots["row"].lerp((g * g).mean(-1, keepdim=True), c["taken"])
        column = slots["column"].lerp((g * g).mean(-2, keepdim=True), c["taken"])
        square = row @ column / row.mean(-2, keepdim=True).clamp(min=c["epsilon"])
        return square, {"row": row, "column": column}


def _root_mean_square(tensor: Tensor) -> Tensor:
    return (tensor * tensor).mean().sqrt()
