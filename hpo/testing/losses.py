"""What every loss must do, as a class of tests to inherit.

class TestMine(LossSuite):
    @pytest.fixture
    def loss(self) -> Loss:
        return losses.parse("mine")
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hpo.testing.entries import EntrySuite
from hpo.training.losses import Loss, losses

Original = Callable[[Tensor, Tensor], Tensor]


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
    def reference(self) -> Original | None:
        """torch's function with the same settings; None where torch has none."""
        return None

    @pytest.fixture
    def batch(self, loss: Loss) -> tuple[Tensor, Tensor]:
        """Scores of 64 examples and targets that fit."""
        generator = torch.Generator().manual_seed(0)
        scores_NC = torch.randn(64, 5, generator=generator)
        if loss.takes(classes=True) and not loss.takes(classes=False):
            return scores_NC, torch.randint(0, 5, (64,), generator=generator)
        return scores_NC, torch.rand(64, 5, generator=generator)

    def test_agrees_with_torch(self, loss: Loss, reference: Original | None, batch: tuple[Tensor, Tensor]) -> None:
        if reference is None:
            return
        scores, targets = batch
        scores.requires_grad_()
        value, expected = loss.value(scores, targets), reference(scores, targets)
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
        found, wanted = (torch.autograd.grad(one, scores)[0] for one in (value, expected))
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)

    def test_is_a_finite_scalar_with_a_gradient(self, loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
        scores, targets = batch
        scores.requires_grad_()
        value = loss.value(scores, targets)
        assert value.shape == ()
        assert torch.isfinite(value)
        (gradient,) = torch.autograd.grad(value, scores)
        assert torch.isfinite(gradient).all()
        assert gradient.any()

    @pytest.mark.parametrize("size", [0.0, 30.0, 1e4])
    def test_is_finite_at_sure_and_at_undecided_scores(
        self, loss: Loss, batch: tuple[Tensor, Tensor], size: float
    ) -> None:
        scores, targets = batch
        scores = (size * scores.sign()).requires_grad_()
        value = loss.value(scores, targets)
        (gradient,) = torch.autograd.grad(value, scores)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()

    def test_is_the_mean_over_the_batch(self, loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
        function, (scores, targets) = loss.value, batch
        halves = (function(scores[:32], targets[:32]) + function(scores[32:], targets[32:])) / 2
        torch.testing.assert_close(function(scores, targets), halves)

    def test_smooths_labels_where_it_says_so(self, loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
        if not loss.smooths:
            return
        scores, targets = batch
        count = 2 if targets.is_floating_point() else scores.shape[1]  # a label is yes or no
        every_class = [loss.value(scores, torch.full_like(targets, c)) for c in range(count)]
        expected = 0.7 * loss.value(scores, targets) + 0.3 * torch.stack(every_class).mean()
        torch.testing.assert_close(loss.value(scores, targets, 0.3), expected)
        torch.testing.assert_close(loss.value(scores, targets, torch.tensor(0.3)), expected)

    def test_takes_shares_of_the_classes_too(self, loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
        scores, targets = batch
        if targets.is_floating_point():
            return
        share = torch.nn.functional.one_hot(targets, 5).float()
        other = (targets + 1) % 5
        mixed = 0.7 * share + 0.3 * torch.nn.functional.one_hot(other, 5)
        expected = 0.7 * loss.value(scores, targets) + 0.3 * loss.value(scores, other)
        torch.testing.assert_close(loss.value(scores, share), loss.value(scores, targets))
        torch.testing.assert_close(loss.value(scores, mixed), expected)
        torch.testing.assert_close(loss.value(scores, mixed, torch.tensor(0.0)), expected)

    def test_says_why_it_cannot_be_packed(self, loss: Loss) -> None:
        assert loss.packable != bool(loss.reason)

    def test_members_of_a_pack_have_their_own_numbers(self, loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
        if not loss.packable:
            return
        scores, targets = batch
        fields = {name: getattr(loss, name) for name in type(loss).model_fields}
        numbers = {name: value for name, value in fields.items() if isinstance(value, float)}
        factor_K = torch.tensor([1.0, 0.9, 0.8])
        smoothing_K = torch.tensor([0.0, 0.1, 0.2]) * loss.smooths

        def member(factor: Tensor, smoothing: Tensor, own: Tensor) -> Tensor:
            return loss.at({name: value * factor for name, value in numbers.items()}).value(own, targets, smoothing)

        scores_K = torch.stack([scores, 2 * scores, 3 * scores])
        found, gradient_K = torch.vmap(torch.func.grad_and_value(member, 2))(factor_K, smoothing_K, scores_K)[::-1]
        for k, factor in enumerate(factor_K.tolist()):
            own = (scores * (1 + k)).requires_grad_()
            alone = type(loss).model_validate({**fields, **{name: value * factor for name, value in numbers.items()}})
            value = alone.value(own, targets, smoothing_K[k].item())
            torch.testing.assert_close(found[k], value, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(gradient_K[k], torch.autograd.grad(value, own)[0], rtol=1e-5, atol=1e-6)
