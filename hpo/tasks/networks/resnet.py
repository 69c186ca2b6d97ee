"""A residual network for small images (He et al. 2016, arXiv:1512.03385)."""

from __future__ import annotations

from torch import Tensor, nn

from hpo.tasks.layers import Activation, ImageNorm, activation, image_norm


class BasicBlock(nn.Module):
    """act(shortcut(x) + norm(conv(act(norm(conv(x)))))), both convolutions 3x3; the first one may have a stride."""

    def __init__(self, inputs: int, channels: int, stride: int, norm: ImageNorm, act: Activation) -> None:
        super().__init__()
        bias = norm == "none"
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=bias)
        self.norm1 = image_norm(norm, channels)
        self.act1 = activation(act)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.norm2 = image_norm(norm, channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, channels, 1, stride, bias=bias), image_norm(norm, channels))
        self.act2 = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, channels, H / stride, W / stride)."""
        branch = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        out: Tensor = self.act2(branch + self.shortcut(x))
        return out


def resnet(colours: int, outputs: int, *, width: int, depth: int, norm: ImageNorm, act: Activation) -> nn.Sequential:
    """Four stages of `depth` blocks; each stage after the first halves the image and doubles the channels.

    A 3x3 convolution without pooling comes first, as images are small; the mean over places and a linear layer last.
    """
    layers: list[tuple[str, nn.Module]] = [
        ("stem", nn.Conv2d(colours, width, 3, padding=1, bias=norm == "none")),
        ("norm", image_norm(norm, width)),
        ("act", activation(act)),
    ]
    inputs = width
    for stage in range(4):
        channels = width * 2**stage
        blocks = []
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            blocks.append(BasicBlock(inputs, channels, stride, norm, act))
            inputs = channels
        layers.append((f"stage{stage + 1}", nn.Sequential(*blocks)))
    layers += [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("drop", nn.Dropout(0.0))]
    net = nn.Sequential()
    for name, layer in [*layers, ("head", nn.Linear(inputs, outputs))]:
        net.add_module(name, layer)
    return net
