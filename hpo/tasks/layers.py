"""Activations and norms by name, the same in every architecture."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Literal

from hpo.lazy import torch

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"]
ImageNorm = Literal["none", "batch", "group"]
SequenceNorm = Literal["none", "layer", "rms"]

_ACTIVATIONS: dict[str, str] = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "tanh": "Tanh",
}
_IN_A_GROUP = 16


def activation(name: Activation) -> nn.Module:
    """A fresh module, with torch's own defaults."""
    made: nn.Module = getattr(torch.nn, _ACTIVATIONS[name])()
    return made


def image_norm(name: ImageNorm, channels: int) -> nn.Module:
    """Behind a convolution; `none` hands its input on.

    Groups have 16 channels, or as few more as divide all of them (Wu & He 2018, arXiv:1803.08494, table 3).
    """
    nn = torch.nn
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(gcd(channels, max(1, channels // _IN_A_GROUP)), channels)
    return nn.Identity()


def sequence_norm(name: SequenceNorm, width: int) -> nn.Module:
    """Over the features of each position; `none` hands its input on."""
    nn = torch.nn
    if name == "layer":
        return nn.LayerNorm(width)
    return nn.RMSNorm(width) if name == "rms" else nn.Identity()
