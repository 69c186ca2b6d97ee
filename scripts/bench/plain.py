"""The peers' training: three small networks on two data sets by a plain PyTorch loop, as anybody would write it.

mlp and cnn learn scikit-learn's digits (8x8 pixels), transformer learns (a + b) mod 47; networks, data, splits and
search spaces are those of ours (hpo's models `mlp`, `cnn`, `transformer`). Nothing of hpo is imported, so that nothing
of hpo is measured; torch is imported where something trains, so that a driver need not.

B of a batch, T positions, W width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from torch import Tensor, nn

BATCH = 32
MODULUS = 47  # small, and a good configuration has learned most of the sums after 20 epochs
Split = tuple["Tensor", "Tensor"]


@dataclass(frozen=True)
class Workload:
    """What is trained. `ours` are the keys that make scripts/sweeps/digits.yaml the same sweep; `highest` the ends of
    the ranges of (learning rate, weight decay)."""

    examples: int
    data: Callable[[], tuple[Split, Split]]
    net: Callable[[float], nn.Module]
    ours: tuple[str, ...] = ()
    highest: tuple[float, float] = (1.0, 1e-2)

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(self.examples / BATCH)

    def space(self, trial: optuna.Trial) -> None:
        """The space of scripts/sweeps/digits.yaml, define-by-run as OptunaSearch takes conditional ones."""
        trial.suggest_float("lr", 1e-4, self.highest[0], log=True)
        trial.suggest_float("weight_decay", 1e-6, self.highest[1], log=True)
        trial.suggest_float("dropout", 0.0, 0.6)
        trial.suggest_float("label_smoothing", 0.0, 0.2)
        trial.suggest_categorical("initializer", ["kaiming_normal", "xavier_uniform", "orthogonal"])
        if trial.suggest_categorical("schedule", ["constant", "cosine"]) == "cosine":
            trial.suggest_float("warmup_fraction", 0.0, 0.1)


class Training:
    """One trial after another on data that is loaded once."""

    def __init__(self, name: str, epochs: int, device: str) -> None:
        import torch

        torch.set_num_threads(1)
        self.workload, self.epochs, self.device = WORKLOADS[name], epochs, device
        (train_x, train_y), (val_x, val_y) = self.workload.data()
        self.train_x, self.train_y = train_x.to(device), train_y.to(device)
        self.val_x, self.val_y = val_x.to(device), val_y.to(device)

    def begin(self, config: dict[str, Any]) -> None:
        """Build model, optimizer and schedule of a configuration."""
        import torch
        from torch import nn

        torch.manual_seed(0)
        self.net = self.workload.net(config["dropout"])
        fill = {
            "kaiming_normal": nn.init.kaiming_normal_,
            "xavier_uniform": nn.init.xavier_uniform_,
            "orthogonal": nn.init.orthogonal_,
        }[config["initializer"]]
        for layer in self.net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                fill(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.net.to(self.device)
        self.loss = nn.CrossEntropyLoss(label_smoothing=config["label_smoothing"])
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, factor(config, self.epochs * self.workload.steps)
        )

    def epoch(self) -> float:
        """Train one epoch; accuracy on the validation split."""
        import torch

        self.net.train()
        for rows in torch.randperm(len(self.train_x)).to(self.device).split(BATCH):
            self.optimizer.zero_grad()
            self.loss(self.net(self.train_x[rows]), self.train_y[rows]).backward()
            self.optimizer.step()
            self.schedule.step()
        self.net.eval()
        with torch.no_grad():
            return float((self.net(self.val_x).argmax(1) == self.val_y).float().mean())


def factor(config: dict[str, Any], steps: int) -> Callable[[int], float]:
    """The schedule's factor by optimizer step: constant, or a cosine after a linear warmup."""
    if config["schedule"] == "constant":
        return lambda _: 1.0
    warmup = round(config["warmup_fraction"] * steps)

    def cosine(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    return cosine


def digits(*shape: int) -> tuple[Split, Split]:
    """1,078 digits that train and 360 that validate, each of that shape."""
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x = torch.tensor(pixels[order] / 16, dtype=torch.float32).reshape(-1, *shape)
    y = torch.tensor(labels[order], dtype=torch.int64)
    return (x[:1078], y[:1078]), (x[1078:1438], y[1078:1438])


def sums() -> tuple[Split, Split]:
    """The words `a b =` and (a + b) mod 47: four fifths train, a tenth validates."""
    import numpy as np
    import torch

    a, b = np.divmod(np.random.default_rng(0).permutation(MODULUS**2), MODULUS)
    x = torch.tensor(np.stack([a, b, np.full_like(a, MODULUS)], 1))
    y = torch.tensor((a + b) % MODULUS)
    train = round(0.8 * len(y))
    val = train + (len(y) - train) // 2
    return (x[:train], y[:train]), (x[train:val], y[train:val])


def mlp(dropout: float) -> nn.Module:
    """64-64-10."""
    from torch import nn

    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 10))


def cnn(dropout: float) -> nn.Module:
    """Two convolutions of 8 and 16 channels, each with pooling, and a linear layer."""
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(dropout), nn.Linear(64, 10)),
    )


def transformer(dropout: float, width: int = 64, heads: int = 4) -> nn.Module:
    """A causal decoder of one block over three words; the last position gives the scores."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
            self.out, self.drop = nn.Linear(width, width), nn.Dropout(dropout)
            inner = (nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width))
            self.mlp = nn.Sequential(*inner, nn.Dropout(dropout))

        def forward(self, x_BTW: Tensor) -> Tensor:
            normed = self.norm1(x_BTW)
            parts = (p(normed).unflatten(-1, (heads, -1)).transpose(1, 2) for p in (self.query, self.key, self.value))
            mixed = functional.scaled_dot_product_attention(
                *parts, dropout_p=dropout if self.training else 0.0, is_causal=True
            )
            x_BTW = x_BTW + self.drop(self.out(mixed.transpose(1, 2).flatten(2)))
            return x_BTW + self.mlp(self.norm2(x_BTW))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.positions = nn.Embedding(MODULUS + 1, width), nn.Parameter(torch.empty(3, width))
            for table in (self.embed.weight, self.positions):
                nn.init.normal_(table, std=width**-0.5)
            self.drop, self.block, self.norm = nn.Dropout(dropout), Block(), nn.LayerNorm(width)
            self.head = nn.Linear(width, MODULUS)

        def forward(self, x_BT: Tensor) -> Tensor:
            scores: Tensor = self.head(self.norm(self.block(self.drop(self.embed(x_BT) + self.positions)))[:, -1])
            return scores

    return Decoder()


# pickled with the searcher, so all of it has a name
WORKLOADS = {
    "mlp": Workload(1078, partial(digits, 64), mlp),
    "cnn": Workload(1078, partial(digits, 1, 8, 8), cnn, ("base.model={name: cnn}",)),
    "transformer": Workload(
        round(0.8 * MODULUS**2),
        sums,
        transformer,
        (
            f"task={{name: modular_addition, p: {MODULUS}, train_fraction: 0.8}}",
            "base.model={name: transformer, width: 64, depth: 1}",
            "space.optimizer.lr.high=0.03",
            "space.optimizer.weight_decay.high=1.0",
        ),
        (0.03, 1.0),  # with more than that a transformer learns nothing, with less decay it learns by heart
    ),
}
