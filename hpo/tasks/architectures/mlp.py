"""The model `mlp`."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hpo.lazy import torch
from hpo.tasks.layers import Activation, activation
from hpo.tasks.registries import ModelEntry, models

if TYPE_CHECKING:
    from torch import nn


@models("mlp")
class MLP(ModelEntry):
    """Fully connected layers; dropout may act after each hidden layer."""

    takes_words: ClassVar[bool] = False

    width: int = Field(64, ge=1, description="units of each hidden layer")
    depth: int = Field(1, ge=1, description="how many hidden layers")
    norm: Literal["none", "batch", "layer"] = Field("none", description="behind each hidden layer")
    activation: Activation = Field("relu", description="behind each norm")

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        nn = torch.nn
        layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
        if not input_shape:
            layers = [nn.Unflatten(0, (-1, 1))]  # an example is one number
        inputs = prod(input_shape)
        for _ in range(self.depth):
            layers.append(nn.Linear(inputs, self.width, bias=self.norm != "batch"))  # whose own bias does
            layers += [nn.BatchNorm1d(self.width)] if self.norm == "batch" else []
            layers += [nn.LayerNorm(self.width)] if self.norm == "layer" else []
            layers += [activation(self.activation), nn.Dropout(0.0)]
            inputs = self.width
        return nn.Sequential(*layers, nn.Linear(inputs, outputs))
