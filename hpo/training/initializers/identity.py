"""The initializer `identity`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.anatomy import Kind
from hpo.training.initializers import Initializer, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializers("identity")
class Identity(Initializer):
    """Linear and recurrent layers that pass unit i on as unit i (Le et al. 2015, arXiv:1504.00941)."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"linear", "recurrent"})
    gain: float = Field(1.0, gt=0, description="factor of what is passed on")

    def fill(self, weight: Tensor, generator: Generator) -> None:
        del generator
        torch.nn.init.eye_(weight).mul_(self.gain)
