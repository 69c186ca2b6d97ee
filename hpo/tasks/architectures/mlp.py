"""The model `mlp`."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from pydantic import Field

from hpo.lazy import torch
from hpo.tasks.registries import ModelEntry, models

if TYPE_CHECKING:
    from torch import nn


@models("mlp")
class MLP(ModelEntry):
    """Fully connected layers with ReLU; dropout may act after each hidden layer."""

    width: int = Field(64, ge=1, description="units of each hidden layer")
    depth: int = Field(1, ge=1, description="how many hidden layers")

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        nn = torch.nn
        layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) != 1 else []
        inputs = prod(input_shape)
        for _ in range(self.depth):
            layers += [nn.Linear(inputs, self.width), nn.ReLU(), nn.Dropout(0.0)]
            inputs = self.width
        return nn.Sequential(*layers, nn.Linear(inputs, outputs))
