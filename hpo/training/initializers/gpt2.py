"""The initializer `gpt2`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hpo.training.initializers import Initializer, Residual, initializers

if TYPE_CHECKING:
    from torch import Generator, Tensor


@initializers("gpt2")
class GPT2(Initializer):
    """Normal(0, 0.02), residual projections divided by the root of their number (Radford et al. 2019, GPT-2).

    With two residual branches a block that is 1 / sqrt(2 L) for L blocks. A model without one is an error.
    """

    std: float = Field(0.02, gt=0, description="standard deviation of all weights")
    embedding_std: float = Field(
        0.02, ge=0, description="standard deviation of embeddings, drawn from a normal; 0 leaves them as built"
    )
    residual: Residual = Field(
        "depth", description="last layer or norm of each residual branch: as any other, 0, or scaled by depth"
    )

    def fill(self, weight: Tensor, generator: Generator) -> None:
        weight.normal_(0.0, self.std, generator=generator)
