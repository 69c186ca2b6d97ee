"""The initializer `dirac`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.anatomy import Kind
from hpo.training.initializers import Initializer, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializers("dirac")
class Dirac(Initializer):
    """Convolutions that pass channel i on as channel i (Zagoruyko & Komodakis 2017, arXiv:1706.00388)."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"conv"})
    gain: float = Field(1.0, gt=0, description="factor of what is passed on")

    def fill_groups(self, weight: Tensor, groups: int, generator: Generator) -> None:
        del generator
        torch.nn.init.dirac_(weight, groups).mul_(self.gain)
