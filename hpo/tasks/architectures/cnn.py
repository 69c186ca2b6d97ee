"""The model `cnn`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.tasks.registries import ModelEntry, models

if TYPE_CHECKING:
    from torch import nn


@models("cnn")
class CNN(ModelEntry):
    """Two 3x3 convolutions with ReLU and 2x2 pooling, then a linear layer; dropout may act before it."""

    channels: int = Field(8, ge=1, description="channels of the first convolution; the second has twice as many")

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(input_shape) != 3 or min(input_shape[1:]) < 4:
            raise UserError(
                f"model: cnn needs images (channels, height, width) of at least 4x4, the task has {input_shape}"
            )
        nn = torch.nn
        colours, height, width = input_shape
        wide = 2 * self.channels
        return nn.Sequential(
            nn.Conv2d(colours, self.channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(self.channels, wide, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.0),
            nn.Linear(wide * (height // 4) * (width // 4), outputs),
        )
