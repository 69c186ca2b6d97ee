"""The model `resnet18`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.errors import UserError
from hpo.tasks.layers import Activation, ImageNorm
from hpo.tasks.registries import ModelEntry, models

if TYPE_CHECKING:
    from torch import nn


@models("resnet18")
class ResNet18(ModelEntry):
    """ResNet-18 for small images: a 3x3 convolution without pooling first (He et al. 2016, arXiv:1512.03385).

    Eight blocks of two 3x3 convolutions in four stages of `width`, 2, 4 and 8 times `width` channels; dropout may act
    before the last layer. Batch norm needs more than one value of a channel in a batch, so no last batch of one image
    where the last stage is a single place.
    """

    takes_words: ClassVar[bool] = False

    width: int = Field(64, ge=1, description="channels of the first stage; the others have 2, 4 and 8 times as many")
    depth: int = Field(2, ge=1, description="blocks of each of the four stages; 2 make the 18 layers")
    norm: ImageNorm = Field("batch", description="behind each convolution")
    activation: Activation = Field("relu", description="behind each norm")

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(input_shape) != 3 or min(input_shape[1:]) < 8:
            raise UserError(
                f"model: resnet18 needs images (channels, height, width) of at least 8x8, the task has {input_shape}"
            )
        from hpo.tasks.networks.resnet import resnet

        return resnet(input_shape[0], outputs, width=self.width, depth=self.depth, norm=self.norm, act=self.activation)
