"""What every initializer must do, as a class of tests to inherit.

class TestMine(InitializerSuite):
    @pytest.fixture
    def initializer(self) -> Initializer:
        return initializers.parse("mine")
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hpo.testing.entries import EntrySuite
from hpo.training.initializers import Initializer, initializers, layers


def network() -> nn.Module:
    """Linear, convolution and norm layers, and an embedding."""
    return nn.Sequential(
        nn.Embedding(5, 6),
        nn.Conv1d(3, 8, 3),
        nn.BatchNorm1d(8),
        nn.Conv2d(4, 8, 3, groups=2),
        nn.ConvTranspose2d(4, 8, 3, bias=False),
        nn.Linear(300, 200),
        nn.LayerNorm(200),
    )


def drawn(initializer: Initializer, seed: int) -> dict[str, torch.Tensor]:
    """The parameters of `network` after the initializer, under a seed."""
    torch.manual_seed(0)
    net = network()
    torch.manual_seed(seed)
    initializer.apply(net)
    return dict(net.named_parameters())


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

    def test_draws_from_torchs_seed_and_nothing_else(self, initializer: Initializer) -> None:
        first, again = drawn(initializer, 1), drawn(initializer, 1)
        assert all(torch.equal(first[name], again[name]) for name in first)

    def test_fills_layers_and_leaves_the_rest(self, initializer: Initializer) -> None:
        torch.manual_seed(0)
        before = {name: p.clone() for name, p in network().named_parameters()}
        after = drawn(initializer, 1)
        modules = dict(network().named_modules())
        for name, weight in after.items():
            module, _, kind = name.rpartition(".")
            fills = isinstance(modules[module], layers()) and type(initializer).apply is Initializer.apply
            assert torch.isfinite(weight).all()
            if not fills:
                assert torch.equal(weight, before[name])
            elif kind == "bias":
                assert not weight.any()
            else:
                assert not torch.equal(weight, before[name])

    def test_has_the_analytic_mean_and_variance(self, initializer: Initializer, variance: float | None) -> None:
        if variance is None:
            return
        torch.manual_seed(3)
        layer = nn.Linear(400, 900)
        initializer.apply(layer)
        weight, n = layer.weight.double(), layer.weight.numel()
        # five standard errors of a mean and, for any kurtosis up to the normal's, of a variance
        assert abs(weight.mean().item()) < 5 * (variance / n) ** 0.5
        assert abs(weight.var().item() / variance - 1) < 5 * (2 / n) ** 0.5
