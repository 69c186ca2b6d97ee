"""The initializer `lecun_normal`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.training.initializers import Initializer, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializers("lecun_normal")
class LeCunNormal(Initializer):
    """Normal with variance 1 / fan in, for tanh and SELU layers (LeCun et al. 1998; Klambauer et al. 2017)."""

    def fill(self, weight: Tensor, generator: Generator) -> None:
        weight.normal_(0.0, weight[0].numel() ** -0.5, generator=generator)
