"""The model `transformer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from hpo.errors import UserError
from hpo.tasks.layers import Activation, SequenceNorm
from hpo.tasks.registries import ModelEntry, models

if TYPE_CHECKING:
    from torch import nn

    from hpo.tasks.task import Task


@models("transformer")
class Transformer(ModelEntry):
    """A small transformer over sequences of words or of features (Vaswani et al. 2017, arXiv:1706.03762).

    Inputs are integers (T,), embedded in a vocabulary as large as the task's largest word says, or floats (T,
    features). With `causal` it is a decoder whose last position gives the scores, without it an encoder that gives the
    mean over positions. Positions are learned. Dropout may act on the embeddings, in attention, inside the MLP, and at
    the end of each branch.
    """

    width: int = Field(64, ge=1, description="numbers of one position; a multiple of heads")
    depth: int = Field(2, ge=1, description="blocks of attention and MLP")
    heads: int = Field(4, ge=1, description="heads of attention in each block")
    mlp_ratio: float = Field(4.0, gt=0, description="hidden units of a block's MLP, as a multiple of width")
    norm: SequenceNorm = Field("layer", description="over the numbers of each position")
    norm_first: bool = Field(True, description="norms before attention and MLP, or behind the additions as in 2017")
    activation: Activation = Field("gelu", description="inside the MLP")
    causal: bool = Field(True, description="whether a position sees only itself and those before it")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Transformer:
        if self.width % self.heads:
            raise ValueError(f"width: must be a multiple of heads ({self.heads}), found {self.width}")
        return self

    def build(self, input_shape: tuple[int, ...], outputs: int, vocabulary: int | None = None) -> nn.Module:
        """See ModelEntry. vocabulary: how many words there are, where inputs are integers."""
        if len(input_shape) != (2 if vocabulary is None else 1):
            raise UserError(
                "model: transformer needs sequences, integers (positions,) or floats (positions, features), "
                f"the task has {'floats' if vocabulary is None else 'integers'} {input_shape}"
            )
        from torch import nn

        from hpo.tasks.layers import sequence_norm
        from hpo.tasks.networks import transformer

        blocks: list[nn.Module] = [
            transformer.Block(
                self.width,
                self.heads,
                max(1, round(self.width * self.mlp_ratio)),
                norm=self.norm,
                norm_first=self.norm_first,
                act=self.activation,
                causal=self.causal,
            )
            for _ in range(self.depth)
        ]
        embed = nn.Linear(input_shape[1], self.width) if vocabulary is None else nn.Embedding(vocabulary, self.width)
        last = sequence_norm(self.norm if self.norm_first else "none", self.width)
        return transformer.Transformer(embed, input_shape[0], self.width, blocks, last, outputs)

    def build_for(self, task: Task) -> nn.Module:
        return self.build(task.input_shape, task.outputs, task.vocabulary)
