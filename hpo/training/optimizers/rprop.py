"""The optimizer `rprop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hpo.lazy import torch
from hpo.training.optimizers import Optimizer, optimizers
from hpo.training.rules import Numbers, Slots

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("rprop")
class Rprop(Optimizer):
    """Steps of one size a number, longer while its gradient keeps its sign; as torch.optim.Rprop (Riedmiller 1993).

    Meant for batches that are the whole training split: the noise of small ones turns signs. Sizes are kept in
    multiples of the learning rate, so a schedule acts on them; torch's reads the learning rate once.
    """

    lr: float = Field(1e-2, gt=0, description="first size of a step; the schedule multiplies all sizes")
    shrink: float = Field(0.5, gt=0, lt=1, description="factor of a size when the gradient's sign turns")
    grow: float = Field(1.2, gt=1, description="factor of a size when the gradient keeps its sign")
    smallest: float = Field(1e-4, gt=0, le=1, description="smallest size, in multiples of the learning rate")
    largest: float = Field(5e3, ge=1, description="largest size, in multiples of the learning rate")

    @property
    def decouples(self) -> bool:
        return True

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        del kinds
        return {"last": torch.zeros_like(parameter), "size": torch.ones_like(parameter)}

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        del clock
        own = {name: numbers[name] for name in ("lr", "smallest", "largest")}
        return {**own, "more": numbers["grow"] - 1, "less": 1 - numbers["shrink"], **self.decay_constants(numbers)}

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        same = (g * slots["last"]).sign()
        kept, turned = same.clamp(0.0, 1.0), (-same).clamp(0.0, 1.0)
        size = (slots["size"] * (kept * c["more"] - turned * c["less"] + 1.0)).clamp(c["smallest"], c["largest"])
        taken = g - g * turned  # where the sign turned nothing moves, and the next sign counts as new
        return p - taken.sign() * size * c["lr"], {"last": taken, "size": size}
