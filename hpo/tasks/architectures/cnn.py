"""The model `cnn`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.tasks.layers import Activation, ImageNorm, activation, image_norm
from hpo.tasks.registries import ModelEntry, models

if TYPE_CHECKING:
    from torch import nn


@models("cnn")
class CNN(ModelEntry):
    """3x3 convolutions, each with 2x2 pooling, then a linear layer; dropout may act before it."""

    takes_words: ClassVar[bool] = False

    channels: int = Field(8, ge=1, description="channels of the first convolution; each further one has twice as many")
    depth: int = Field(2, ge=1, description="how many convolutions; each halves the image")
    norm: ImageNorm = Field("none", description="behind each convolution")
    activation: Activation = Field("relu", description="behind each norm")

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        smallest = 2**self.depth
        if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
            raise UserError(
                f"model: cnn needs images (channels, height, width) of at least {smallest}x{smallest}, "
                f"the task has {input_shape}"
            )
        nn = torch.nn
        inputs, height, width = input_shape
        layers: list[nn.Module] = []
        for block in range(self.depth):
            channels = self.channels * 2**block
            layers.append(nn.Conv2d(inputs, channels, 3, padding=1, bias=self.norm == "none"))
            layers += [] if self.norm == "none" else [image_norm(self.norm, channels)]
            layers += [activation(self.activation), nn.MaxPool2d(2)]
            inputs = channels
        places = (height // smallest) * (width // smallest)
        return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.0), nn.Linear(inputs * places, outputs))
