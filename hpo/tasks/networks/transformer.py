"""A small transformer over a few positions (Vaswani et al. 2017, arXiv:1706.03762).

B of a batch, T positions, W width, H heads, D width of one head.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from hpo.tasks.layers import Activation, SequenceNorm, activation, sequence_norm


class Attention(nn.Module):
    """Softmax attention of several heads. Each projection is a layer of its own, so that initializers see it.

    Queries, keys and values have no biases: one of the keys changes nothing (PaLM, arXiv:2204.02311).
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.drop = nn.Dropout(0.0)  # of the shares; its rate is read below
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, W) -> (B, T, W)."""
        q_BHTD, k_BHTD, v_BHTD = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for project in (self.query, self.key, self.value)
        )
        rate = self.drop.p if self.training else 0.0
        mixed_BHTD = functional.scaled_dot_product_attention(
            q_BHTD, k_BHTD, v_BHTD, dropout_p=rate, is_causal=self.causal
        )
        mixed: Tensor = self.out(mixed_BHTD.transpose(-3, -2).flatten(-2))
        return mixed


class Block(nn.Module):
    """Attention and a two-layer MLP, each on a residual branch, with norms before or behind the additions."""

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        *,
        norm: SequenceNorm,
        norm_first: bool,
        act: Activation,
        causal: bool,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.norm1, self.norm2 = sequence_norm(norm, width), sequence_norm(norm, width)
        self.attention = Attention(width, heads, causal=causal)
        self.drop1, self.drop2 = nn.Dropout(0.0), nn.Dropout(0.0)
        self.mlp = nn.Sequential(nn.Linear(width, inner), activation(act), nn.Dropout(0.0), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, W) -> (B, T, W)."""
        if self.norm_first:
            x = x + self.drop1(self.attention(self.norm1(x)))
            x = x + self.drop2(self.mlp(self.norm2(x)))
        else:
            x = self.norm1(x + self.drop1(self.attention(x)))
            x = self.norm2(x + self.drop2(self.mlp(x)))
        return x


class Transformer(nn.Module):
    """Scores (B, outputs) of sequences: words (B, T), or features (B, T, features).

    Each position has a learned vector. What the head sees is the last position where attention is causal, which has
    seen all others, and the mean over positions where it is not.
    """

    def __init__(
        self, embed: nn.Module, positions: int, width: int, blocks: list[nn.Module], last: nn.Module, outputs: int
    ) -> None:
        """embed: (B, T, ...) -> (B, T, W).  last: norm before the head."""
        super().__init__()
        self.embed = embed
        self.positions = nn.Embedding(positions, width)
        self.drop = nn.Dropout(0.0)
        self.blocks = nn.Sequential(*blocks)
        self.norm = last
        self.head = nn.Linear(width, outputs)
        self.takes_last = all(isinstance(block, Block) and block.attention.causal for block in blocks)
        for table in (self.positions, embed):
            if isinstance(table, nn.Embedding):
                nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.drop(self.embed(x) + self.positions.weight)
        x = self.norm(self.blocks(x))
        scores: Tensor = self.head(x[:, -1] if self.takes_last else x.mean(1))
        return scores
