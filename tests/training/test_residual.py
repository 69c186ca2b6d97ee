"""Residual branches and output heads, found in networks as people write them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.errors import UserError
from hpo.testing.networks import Block, Everything
from hpo.training.residual import branches_of, head_of


class Basic(nn.Module):
    """ResNet's basic block: two convolutions with norms, an identity or a projection beside them."""

    def __init__(self, inputs: int, outputs: int, gate: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)
        self.gate = Gate(outputs) if gate else None
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        if self.gate is not None:
            x = self.gate(x)
        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        x += shortcut
        return torch.relu(x)


class Gate(nn.Module):
    """Squeeze and excitation: gives its input, scaled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class ResNet(nn.Module):
    """A small one, with its head registered first."""

    def __init__(self, gate: bool = False) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)
        self.stem = nn.Conv2d(1, 4, 3)
        self.blocks = nn.Sequential(Basic(4, 4, gate), Basic(4, 6, gate))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class Causal(nn.Module):
    """Attention that returns a tuple and asks for shapes, as Hugging Face's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.resid_dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, cache: Any = None, **kwargs: Any) -> tuple[Tensor, None]:
        q, k, v = self.c_attn(x).split(x.shape[-1], dim=2)
        shape = (*q.shape[:-1], 2, -1)  # no tracer gets through this
        mixed = nn.functional.scaled_dot_product_attention(q.view(shape), k.view(shape), v.view(shape))
        return self.resid_dropout(self.c_proj(mixed.flatten(2))), None


class GPTBlock(nn.Module):
    """Two branches; arguments with defaults, control flow on them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Causal(width)
        self.ln_2, self.mlp = nn.LayerNorm(width), nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width))

    def forward(self, x: Tensor, cache: Any = None, mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        residual = x
        out, _ = self.attn(self.ln_1(x), cache=cache, **kwargs)
        x = out + residual
        if mask is not None:
            x = x * mask
        return x + self.mlp(self.ln_2(x))


class PostNorm(nn.Module):
    """The end of a branch as BERT writes it: its skip connection is an argument."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense, self.norm, self.dropout = nn.Linear(width, width), nn.LayerNorm(width), nn.Dropout(0.1)

    def forward(self, hidden: Tensor, skip: Tensor) -> Tensor:
        return self.norm(self.dropout(self.dense(hidden)) + skip)


def ends(net: nn.Module) -> list[tuple[str, str, int]]:
    return [(branch.output, branch.end.name, len(branch.layers)) for branch in branches_of(net)]


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (Block(4), [("out", "out", 2)]),
        (nn.Sequential(Block(4), nn.Linear(4, 2)), [("0.out", "0.out", 2)]),
        (ResNet(), [("blocks.0.bn2", "blocks.0.bn2", 2), ("blocks.1.bn2", "blocks.1.bn2", 2)]),
        (ResNet(gate=True), [("blocks.0.bn2", "blocks.0.bn2", 4), ("blocks.1.bn2", "blocks.1.bn2", 4)]),
        (GPTBlock(4), [("attn", "attn.c_proj", 2), ("mlp", "mlp.2", 2)]),
        (PostNorm(4), [("dense", "dense", 1)]),
        (
            nn.TransformerEncoderLayer(4, 2, 8),
            [("self_attn", "self_attn.out_proj", 2), ("linear2", "linear2", 2)],
        ),
        (
            nn.TransformerDecoderLayer(4, 2, 8),
            [
                ("self_attn", "self_attn.out_proj", 2),
                ("multihead_attn", "multihead_attn.out_proj", 2),
                ("linear2", "linear2", 2),
            ],
        ),
        (
            Everything(),
            [
                ("blocks.0.out", "blocks.0.out", 2),
                ("blocks.1.out", "blocks.1.out", 2),
                ("attended.out", "attended.out", 3),
            ],
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_branches_are_found_where_a_forward_adds_them(net: nn.Module, expected: list[tuple[str, str, int]]) -> None:
    assert ends(net) == expected


class Sums(nn.Module):
    """Additions that are no residual ones: two towers, a position, a bias, scores under a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.words, self.places = nn.Embedding(9, 4), nn.Embedding(9, 4)
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        x = self.words(words) + self.places(torch.arange(5)) + self.bias
        x = self.left(x) + self.right(x)
        weights = x @ x.transpose(1, 2) + mask
        return self.out(weights @ x)


def test_other_sums_are_no_branches() -> None:
    assert branches_of(Sums()) == ()
    head = head_of(Sums())
    assert head is not None
    assert head.name == "out"


def test_heads_are_found_by_the_way_to_the_output() -> None:
    def name(net: nn.Module) -> str | None:
        head = head_of(net)
        return head.name if head else None

    assert name(ResNet()) == "fc"
    assert name(Everything()) == "head"
    assert name(nn.Sequential(nn.Linear(3, 2), nn.ReLU())) == "0"
    assert name(nn.TransformerEncoderLayer(4, 2, 8)) == "linear2", (
        "the last one registered, where no tracer gets through"
    )
    assert name(nn.Linear(2, 2)) == ""
    assert name(nn.ReLU()) is None


def test_a_network_may_say_what_is_what() -> None:
    class Told(ResNet):
        residual_layers = ("blocks.*.conv2",)
        output_head = "stem"

    assert [end for _, end, _ in ends(Told())] == ["blocks.0.conv2", "blocks.1.conv2"]
    head = head_of(Told())
    assert head is not None
    assert head.name == "stem"

    class Wrong(ResNet):
        residual_layers = ("block.*",)
        output_head = "head"

    with pytest.raises(
        UserError, match=r"^model: its residual_layers has 'block\.\*', which names no layer .*blocks\.0"
    ):
        branches_of(Wrong())
    with pytest.raises(UserError, match=r"^model: its output_head has 'head', which names no layer"):
        head_of(Wrong())


def test_looking_at_a_network_leaves_it_as_it_was() -> None:
    class Counting(Block):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.last = x
            return super().forward(x)

    net = nn.Sequential(Counting(4), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert len(branches_of(net)) == 1
    assert head_of(net) is not None
    assert net[0].calls == 0
    assert not hasattr(net[0], "last")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
