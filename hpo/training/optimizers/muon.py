"""The optimizer `muon`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hpo.lazy import torch
from hpo.training.moments import AdamRule
from hpo.training.optimizers import optimizers
from hpo.training.rules import Numbers, Slots
from hpo.training.slots import OVER_TIME

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("muon")
class Muon(AdamRule):
    """Momentum made orthogonal for matrices of hidden layers, as torch.optim.Muon; AdamW for the rest (Jordan 2024).

    The rest are parameters that are no matrices, embeddings and the head. With `match_rms_adamw` (arXiv:2502.16982)
    one learning rate suits both; with `original` give the rest its own by `lr_multipliers`.
    """

    packable: ClassVar[bool] = False
    reason: ClassVar[str] = "its iterations in bfloat16 round otherwise when matrices are batched"
    elementwise: ClassVar[bool] = False
    by_kind: ClassVar[bool] = True
    weight_decay: float = Field(
        0.1, ge=0, description="each step shrinks parameters by lr * weight_decay", json_schema_extra=OVER_TIME
    )
    momentum: float = Field(
        0.95,
        ge=0,
        lt=1,
        description="decay of the mean of gradients that is made orthogonal",
        json_schema_extra=OVER_TIME,
    )
    nesterov: bool = Field(True, description="look ahead along the momentum")
    iterations: int = Field(5, ge=1, lt=100, description="Newton-Schulz iterations of a step")
    adjust: Literal["match_rms_adamw", "original"] = Field(
        "match_rms_adamw", description="size of a step: as large as AdamW's, or by the matrix's shape alone"
    )

    @property
    def decouples(self) -> bool:
        return True

    def slots(self, parameter: Tensor, kinds: frozenset[str] = frozenset()) -> Slots:
        if parameter.dim() == 2 and not kinds & {"embedding", "head"}:
            return {"velocity": torch.zeros_like(parameter)}
        return super().slots(parameter, kinds)

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        own = {"lr": numbers["lr"], "momentum": numbers["momentum"], "taken": 1 - numbers["momentum"]}
        return {**super().constants(numbers, clock), **own}

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        if "velocity" not in slots:
            return super().update(p, g, slots, c)
        p, g = self.decay(p, g, c)
        velocity = slots["velocity"].lerp(g, c["taken"])
        along = g.lerp(velocity, c["momentum"]) if self.nesterov else velocity
        rows, columns = p.shape
        size = 0.2 * max(rows, columns) ** 0.5 if self.adjust == "match_rms_adamw" else max(1, rows / columns) ** 0.5
        return p - orthogonal(along, self.iterations).to(p.dtype) * (c["lr"] * size), {"velocity": velocity}

    def move(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: dict[str, list[Tensor]],
        numbers: Numbers,
        clock: Numbers,
    ) -> None:
        if "velocity" in slots:
            super(AdamRule, self).move(parameters, gradients, slots, numbers, clock)
        else:
            super().move(parameters, gradients, slots, numbers, clock)


def orthogonal(matrix: Tensor, iterations: int) -> Tensor:
    """Nearly the orthogonal matrix next to `matrix`: its singular values moved towards 1, in bfloat16 as torch does.

    Quintic Newton-Schulz iterations with Jordan's coefficients, which end between 0.5 and 1.5 and not at 1.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / x.norm().clamp(min=1e-7)  # the largest singular value must be at most 1
    for _ in range(iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
