"""What every initializer must do, as a class of tests to inherit.

class TestMine(InitializerSuite):
    @pytest.fixture
    def initializer(self) -> Initializer:
        return initializers.parse("mine")
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hpo.testing.entries import EntrySuite
from hpo.testing.networks import Everything
from hpo.training.anatomy import FILLED, layers_of
from hpo.training.initializers import Initializer, initializers


def drawn(initializer: Initializer, seed: int, net: nn.Module | None = None) -> dict[str, torch.Tensor]:
    """The parameters of a network with every kind of layer after the initializer."""
    torch.manual_seed(0)
    net = Everything() if net is None else net
    initializer.apply(net, seed)
    return {name: p.detach() for name, p in net.named_parameters()}


def changed(initializer: Initializer, **fields: Any) -> Initializer:
    """The same initializer with other fields."""
    return initializers.parse({**initializer.model_dump(), **fields})


class InitializerSuite(EntrySuite):
    """Tests of one initializer entry; a subclass gives it, and the variance it should draw where that is known."""

    registry = initializers

    @pytest.fixture
    def initializer(self) -> Initializer:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, initializer: Initializer) -> Initializer:
        """The same, for the tests of any entry."""
        return initializer

    @pytest.fixture
    def variance(self) -> float | None:
        """Analytic variance of a Linear(400, 900)'s weight; None where it is not one number."""
        return None

    def test_hangs_on_its_seed_and_on_no_global_generator(self, initializer: Initializer) -> None:
        first = drawn(initializer, 1)
        net = Everything()
        torch.manual_seed(0)
        net.load_state_dict(Everything().state_dict())
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        initializer.apply(net, 1)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert all(torch.equal(p, first[name]) for name, p in net.named_parameters())

    def test_a_weight_hangs_on_its_name_and_not_on_other_layers(self, initializer: Initializer) -> None:
        whole = drawn(initializer, 1)
        turned = drawn(initializer, 1, Everything(Everything.PARTS[::-1]))
        wider = Everything()
        wider.add_module("also", nn.Linear(30, 20))
        more = drawn(initializer, 1, wider)
        for name in filled(initializer):
            assert torch.equal(whole[name], turned[name]), name
            assert torch.equal(whole[name], more[name]), name

    def test_fills_its_layers_and_leaves_the_rest(self, initializer: Initializer) -> None:
        plain = changed(initializer, residual="default", head_scale=1.0, embedding_std=0.0)
        torch.manual_seed(0)
        before = {name: p.clone() for name, p in Everything().named_parameters()}
        after = drawn(plain, 1)
        weights, biases = filled(plain), biases_of_filled()
        for name, value in after.items():
            assert torch.isfinite(value).all()
            if name in biases:
                assert torch.equal(value, before[name]) if plain.bias == "default" else not value.any()
            else:
                assert torch.equal(value, before[name]) == (name not in weights), name

    def test_has_the_analytic_mean_and_variance(self, initializer: Initializer, variance: float | None) -> None:
        if variance is None:
            return
        torch.manual_seed(3)
        layer = nn.Linear(400, 900)
        changed(initializer, residual="default", head_scale=1.0).apply(layer, 3)
        weight, n = layer.weight.double(), layer.weight.numel()
        kurtosis = (weight**4).mean().item() / weight.var().item() ** 2
        # five standard errors of a mean and of a variance
        assert abs(weight.mean().item()) < 5 * (variance / n) ** 0.5
        assert abs(weight.var().item() / variance - 1) < 5 * ((kurtosis - 1) / n) ** 0.5

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_takes_weights_of_other_precisions(self, initializer: Initializer, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        single, other = drawn(initializer, 1), drawn(initializer, 1, Everything().to(dtype))
        for name in filled(initializer):
            assert other[name].dtype is dtype
            if dtype is torch.bfloat16:
                torch.testing.assert_close(other[name].float(), single[name], rtol=2**-7, atol=1e-6)


def filled(initializer: Initializer) -> set[str]:
    """Names of the parameters that it fills."""
    layers = layers_of(Everything())
    return {weight.parameter for layer in layers if layer.kind in initializer.kinds for weight in layer.weights}


def biases_of_filled() -> set[str]:
    """Names of the biases of linear, convolution and recurrent layers."""
    return {name for layer in layers_of(Everything()) if layer.kind in FILLED for name in layer.biases}
