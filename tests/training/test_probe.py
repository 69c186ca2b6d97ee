"""Whether a model of any kind can be packed, found by trying; and that those which can are equal to solo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpo.schema import check
from hpo.tasks import Task
from hpo.testing.networks import Attended
from hpo.testing.packs import assert_equal_to_solo
from hpo.training import TrainingConfig
from hpo.training.packed import Pack
from hpo.training.shape import Unpackable

SHAPE = (6, 8)  # of one example: steps and features


class OnLast(nn.Module):
    """A head on what a body gives at the last step."""

    def __init__(self, body: nn.Module, width: int = 8) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = self.body(x)
        return self.head((found[0] if isinstance(found, tuple) else found)[:, -1])


class Residual(nn.Module):
    """Convolutions with batch norms and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(6, 6, 3, padding=1), nn.Conv1d(6, 6, 3, padding=1)
        self.norm, self.drop = nn.BatchNorm1d(6), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.norm(self.second(torch.relu(self.first(x)))))


class Peeks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum().item() > 0 else x


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class Counts(nn.Module):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.01 * torch.randn_like(x)


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x


def task_of(body: Callable[[], nn.Module]) -> Task:
    rng = np.random.default_rng(0)
    x_N = rng.normal(size=(96, *SHAPE)).astype(np.float32)
    y_N = x_N[:, -1, :3].argmax(axis=1)

    def model(config: Mapping[str, Any]) -> nn.Module:
        return OnLast(body())

    return Task(train=(x_N[:64], y_N[:64]), val=(x_N[64:], y_N[64:]), model=model)


def configs(task: Task, **fields: Any) -> list[TrainingConfig]:
    base = {"epochs": 2, "batch_size": 16, "optimizer": {"name": "sgd", "lr": 0.05}, **fields}
    return [check(TrainingConfig.for_task(task), {**base, "seed": seed}) for seed in range(2)]


PACKABLE: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(8, 8),
    "residual convolutions with batch norms": Residual,
    "attention": lambda: nn.Sequential(Attended(8), nn.Linear(16, 8)),
    "transformer layer": lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True),
    "lstm": lambda: nn.LSTM(8, 8, batch_first=True),
    "gru": lambda: nn.GRU(8, 8, batch_first=True),
    "rnn": lambda: nn.RNN(8, 8, batch_first=True),
    "layer norm": lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()),
}


@pytest.mark.parametrize("name", PACKABLE)
def test_equal_to_solo(name: str) -> None:
    task = task_of(PACKABLE[name])
    assert Pack(task, configs(task)[0], "cpu").serial == ()
    assert_equal_to_solo(configs(task), task)


ALONE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "item": (Peeks, "does not run as a stack"),
    "if on a tensor": (Branches, "does not run as a stack"),
    "counter": (Counts, "the model's body.calls changes in its forward pass"),
    "own draws": (Draws, "does not run as a stack"),
    "unused layer": (Idle, "the model's body.unused.weight gets no gradient"),
}


@pytest.mark.parametrize("name", ALONE)
def test_trains_by_itself_and_says_why(name: str) -> None:
    body, why = ALONE[name]
    task = task_of(body)
    with pytest.raises(Unpackable, match=why):
        Pack(task, configs(task)[0], "cpu")
