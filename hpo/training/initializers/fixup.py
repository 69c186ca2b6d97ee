"""The initializer `fixup`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from hpo.lazy import torch
from hpo.training.initializers import Initializer, Residual, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from hpo.training.residual import Branch


@initializers("fixup")
class Fixup(Initializer):
    """He's normal, scaled down on residual branches so that depth needs no norm (Zhang et al. 2019, arXiv:1901.09321).

    Rules 1 and 2 of the paper: the last layer of each branch and the output head are 0, the other m - 1 layers of a
    branch are scaled by B ** (-1 / (2 m - 2)) for B branches. Its scalar biases and multipliers (rule 3) are the
    model's to have. A model without a residual branch is an error.
    """

    residual: Residual = Field("zero", description="last layer or norm of each residual branch; Fixup's is zero")
    head_scale: float = Field(0.0, ge=0, description="factor of the output head's weights; Fixup's is 0")

    def fill(self, weight: Tensor, generator: Generator) -> None:
        torch.nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)

    def end_branches(self, branches: tuple[Branch, ...], parameters: Mapping[str, Tensor]) -> None:
        for branch in branches:
            inner = [layer for layer in branch.layers if layer is not branch.end]
            for layer in inner:
                for name in dict.fromkeys(weight.parameter for weight in layer.weights):
                    parameters[name].mul_(len(branches) ** (-1 / (2 * max(len(branch.layers) - 1, 1))))
        super().end_branches(branches, parameters)
