"""Layers and their weights in one layout, whatever module holds them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hpo.testing.networks import Everything
from hpo.training.anatomy import Weight, layers_of
from hpo.training.initializers import initializers


class Conv1D(nn.Module):
    """A linear layer with the weight (in, out), as Hugging Face's GPT-2 has."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


Conv1D.__module__ = "transformers.pytorch_utils"  # the name by which it is known


def fans(weight: Weight) -> tuple[int, int]:
    """By torch's own count of a tensor in the layout (out, in / groups, *kernel)."""
    return nn.init._calculate_fan_in_and_fan_out(torch.empty(weight.shape))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_fan_in_is_what_an_output_sums_over(data: st.DataObject) -> None:
    groups, kernel = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    inputs, outputs = (groups * data.draw(st.integers(1, 4)) for _ in range(2))
    layer, x = data.draw(
        st.sampled_from(
            [
                (nn.Linear(inputs, outputs), torch.ones(1, inputs)),
                (Conv1D(outputs, inputs), torch.ones(1, inputs)),
                (nn.Conv1d(inputs, outputs, kernel, groups=groups), torch.ones(1, inputs, 9)),
                (nn.Conv2d(inputs, outputs, kernel, groups=groups), torch.ones(1, inputs, 9, 9)),
                (nn.ConvTranspose1d(inputs, outputs, kernel, groups=groups), torch.ones(1, inputs, 9)),
                (nn.ConvTranspose2d(inputs, outputs, kernel, groups=groups), torch.ones(1, inputs, 9, 9)),
            ]
        )
    )
    (found,) = layers_of(layer)
    (weight,) = found.weights
    for p in layer.parameters():
        nn.init.constant_(p, 1.0 if p.dim() > 1 else 0.0)
    # an inner output of a layer of ones, on ones, counts its inputs
    assert layer(x).max().item() == fans(weight)[0]
    assert weight.shape[0] == outputs


@settings(max_examples=30, deadline=None)
@given(groups=st.integers(1, 3), inputs=st.integers(1, 3), outputs=st.integers(1, 3))
def test_what_is_stored_is_what_is_read_and_what_the_layer_uses(groups: int, inputs: int, outputs: int) -> None:
    back = nn.ConvTranspose2d(groups * inputs, groups * outputs, 2, groups=groups, bias=False)
    forth = nn.Conv2d(groups * inputs, groups * outputs, 2, groups=groups, bias=False)
    (weight,) = layers_of(back)[0].weights
    values = torch.randn(weight.shape)
    with torch.no_grad():
        weight.store(dict(back.named_parameters()), values)
        forth.weight.copy_(values.flip(2, 3))
    assert torch.equal(weight.of(dict(back.named_parameters())), values)
    x = torch.randn(2, groups * inputs, 5, 5)
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    torch.testing.assert_close(back(x), forth(padded), rtol=1e-4, atol=1e-5)


def test_stacks_are_several_weights() -> None:
    layers = {layer.name: layer for layer in layers_of(Everything())}
    shapes = {weight.name: weight.shape for layer in layers.values() for weight in layer.weights}
    assert shapes["attended.attention.in_proj_weight[2]"] == (8, 8)
    assert shapes["gates.weight_ih_l0[0]"] == (8, 16)
    assert shapes["gates.weight_hh_l0[2]"] == (8, 8)
    assert shapes["back.weight"] == (8, 4, 2, 2)
    assert len(shapes) == len({name for layer in layers.values() for name in [w.name for w in layer.weights]})
    lstm = layers_of(nn.LSTM(3, 6, proj_size=2))[0]
    assert {weight.name: weight.shape for weight in lstm.weights}["weight_hr_l0"] == (2, 6)
    assert [w.shape for w in layers_of(nn.MultiheadAttention(4, 2, kdim=3))[0].weights] == [(4, 4), (4, 3), (4, 4)]


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.BatchNorm2d(3), "norm"),
        (nn.InstanceNorm1d(3, affine=True), "norm"),
        (nn.GroupNorm(1, 3), "norm"),
        (nn.RMSNorm(3), "norm"),
        (nn.EmbeddingBag(3, 2), "embedding"),
        (nn.LSTMCell(2, 3), "recurrent"),
        (Conv1D(2, 3), "linear"),
    ],
)
def test_kinds(layer: nn.Module, kind: str) -> None:
    assert [found.kind for found in layers_of(layer)] == [kind]


def test_a_norm_of_the_users_own_is_known_by_its_name() -> None:
    class ScaleNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

    assert [(layer.kind, layer.scale) for layer in layers_of(ScaleNorm())] == [("norm", "weight")]


def test_modules_without_weights_of_their_own_are_no_layers() -> None:
    parametrized: Any = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    born = {name: p.clone() for name, p in parametrized.named_parameters()}
    assert layers_of(nn.Sequential(nn.ReLU(), nn.Dropout(), nn.LayerNorm(3, elementwise_affine=False))) == ()
    net = nn.Sequential(parametrized, nn.Linear(3, 2))
    initializers.parse("kaiming_normal").apply(net, 0)
    assert all(torch.equal(p, born[name]) for name, p in parametrized.named_parameters())


def test_a_shared_weight_belongs_to_its_first_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    assert [layer.name for layer in layers_of(net)] == ["0"]
    assert [layer.name for layer in layers_of(net, shared=True)] == ["0", "1"]
