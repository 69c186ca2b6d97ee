"""What every loss must do, as a class of tests to inherit.

class TestMine(LossSuite):
    @pytest.fixture
    def loss(self) -> Loss:
        return losses.parse("mine")
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hpo.testing.entries import EntrySuite
from hpo.training.losses import Loss, losses


class LossSuite(EntrySuite):
    """Tests of one loss entry; a subclass gives it as the fixture `loss`."""

    registry = losses

    @pytest.fixture
    def loss(self) -> Loss:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, loss: Loss) -> Loss:
        """The same, for the tests of any entry."""
        return loss

    @pytest.fixture
    def batch(self, loss: Loss) -> tuple[Tensor, Tensor]:
        """Scores of 64 examples and targets that fit."""
        generator = torch.Generator().manual_seed(0)
        scores_NC = torch.randn(64, 5, generator=generator)
        if loss.classes:
            return scores_NC, torch.randint(0, 5, (64,), generator=generator)
        return scores_NC, torch.randn(64, 5, generator=generator)

    def test_is_a_finite_scalar_with_a_gradient(self, loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
        scores, targets = batch
        scores.requires_grad_()
        value = loss.value(scores, targets)
        assert value.shape == ()
        assert torch.isfinite(value)
        (gradient,) = torch.autograd.grad(value, scores)
        assert torch.isfinite(gradient).all()
        assert gradient.any()

    def test_is_the_mean_over_the_batch(self, loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
        function, (scores, targets) = loss.value, batch
        halves = (function(scores[:32], targets[:32]) + function(scores[32:], targets[32:])) / 2
        torch.testing.assert_close(function(scores, targets), halves)

    def test_smooths_labels_where_it_says_so(self, loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
        if not loss.smooths:
            return
        scores, targets = batch
        every_class = [loss.value(scores, torch.full_like(targets, c)) for c in range(scores.shape[1])]
        expected = 0.7 * loss.value(scores, targets) + 0.3 * torch.stack(every_class).mean()
        torch.testing.assert_close(loss.value(scores, targets, 0.3), expected)
