"""Small networks with every kind of layer, for the suites."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """x + out(relu(inner(norm(x)))), a residual block of a user's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 2 * width)
        self.out = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        branch: Tensor = self.drop(self.out(torch.relu(self.inner(self.norm(x)))))
        return x + branch


class Attended(nn.Module):
    """Attention and a projection to double width, beside a projected shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.out = nn.Linear(width, 2 * width)
        self.shortcut = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, 2 width)."""
        mixed, _ = self.attention(x, x, x)
        sums: Tensor = self.out(mixed) + self.shortcut(x)
        return sums


class Everything(nn.Module):
    """Images (B, 1, 8, 8) and, unless given, the words 0 ... 3 to 3 scores, through every kind of layer.

    order: the names of its parts in the order in which they are registered.
    """

    words: nn.Embedding
    image: nn.Sequential
    back: nn.ConvTranspose2d
    blocks: nn.ModuleList
    attended: Attended
    gates: nn.GRU
    norm: nn.LayerNorm
    head: nn.Linear
    PARTS = ("words", "image", "back", "blocks", "attended", "gates", "norm", "head")

    def __init__(self, order: Sequence[str] = PARTS) -> None:
        super().__init__()
        parts: dict[str, Callable[[], nn.Module]] = {
            "words": lambda: nn.Embedding(5, 8, padding_idx=0),
            "image": lambda: nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            "back": lambda: nn.ConvTranspose2d(8, 8, 2, groups=2, bias=False),
            "blocks": lambda: nn.ModuleList([Block(8), Block(8)]),
            "attended": lambda: Attended(8),
            "gates": lambda: nn.GRU(16, 8, batch_first=True),
            "norm": lambda: nn.LayerNorm(8),
            "head": lambda: nn.Linear(8, 3),
        }
        for name in order:
            self.add_module(name, parts[name]())

    def forward(self, x: Tensor, words: Tensor | None = None) -> Tensor:
        """Scores."""
        seen = self.back(self.image(x.view(-1, 1, 8, 8))).flatten(2).transpose(1, 2)
        if words is None:
            words = torch.arange(4, device=x.device).expand(seen.shape[0], 4)
        x = torch.cat([seen, self.words(words)], 1)
        x = self.blocks[1](self.blocks[0](x))
        x, _ = self.gates(self.attended(x))
        scores: Tensor = self.head(self.norm(x[:, -1]))
        return scores


class SmallImages(nn.Module):
    """Images (B, 1, 4, 4) to 3 scores: a convolution with a batch norm, two residual blocks, dropout, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(Block(4), Block(4))
        self.drop, self.head = nn.Dropout(0.0), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        seen = torch.relu(self.norm(self.image(x))).mean((2, 3))
        scores: Tensor = self.head(self.drop(self.blocks(seen)))
        return scores
