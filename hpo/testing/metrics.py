"""What every metric must do, as a class of tests to inherit.

class TestMine(MetricSuite):
    @pytest.fixture
    def metric(self) -> Metric:
        return metrics.parse("mine")
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hpo.testing.entries import EntrySuite
from hpo.training.metrics import Metric, metrics

Original = Callable[[Tensor, Tensor], Tensor]


class MetricSuite(EntrySuite):
    """Tests of one metric entry; a subclass gives it, and the torchmetrics function that it must equal."""

    registry = metrics

    @pytest.fixture
    def metric(self) -> Metric:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, metric: Metric) -> Metric:
        """The same, for the tests of any entry."""
        return metric

    @pytest.fixture
    def reference(self) -> Original | None:
        """What must be the same, for 6 classes or for floats; None where there is nothing."""
        return None

    @pytest.fixture(params=[0, 1, 2])
    def split(self, metric: Metric, request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
        """Scores of 300 examples and targets that fit; many scores are equal."""
        generator = torch.Generator().manual_seed(request.param)
        scores_NC = torch.randn(300, 6, generator=generator).mul(4).round() / 4
        if metric.classes:
            return scores_NC, torch.randint(0, 6, (300,), generator=generator)
        return scores_NC, scores_NC + torch.randn(300, 6, generator=generator)

    def test_is_one_number_that_order_does_not_change(self, metric: Metric, split: tuple[Tensor, Tensor]) -> None:
        scores, targets = split
        value = metric.value(scores, targets)
        order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(9))
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        torch.testing.assert_close(metric.value(scores[order], targets[order]), value)

    def test_equals_torchmetrics(
        self, metric: Metric, reference: Original | None, split: tuple[Tensor, Tensor]
    ) -> None:
        if reference is None:
            return
        torch.testing.assert_close(metric.value(*split), reference(*split), rtol=1e-6, atol=1e-6)

    def test_a_class_that_is_not_there_does_no_harm(self, metric: Metric, split: tuple[Tensor, Tensor]) -> None:
        scores, targets = split
        if metric.classes:
            assert torch.isfinite(metric.value(scores, targets % 5))

    def test_says_truly_what_is_better(self, metric: Metric) -> None:
        targets = torch.arange(6).repeat(10) if metric.classes else torch.randn(60, 6)
        right = 50 * torch.nn.functional.one_hot(targets, 6).float() if metric.classes else targets
        good, bad = metric.value(right, targets).item(), metric.value(-right, targets).item()
        assert good > bad if metric.direction == "maximize" else good < bad

    def test_one_example_moves_a_share_of_examples_by_its_share(self, metric: Metric) -> None:
        if not metric.counts:
            return
        targets = torch.arange(6).repeat(50)
        scores_NC = torch.nn.functional.one_hot(targets, 6).float() + torch.linspace(0, 0.5, 6)
        one_wrong_NC = scores_NC.clone()
        one_wrong_NC[0, targets[0]] = -1.0
        moved = (metric.value(scores_NC, targets) - metric.value(one_wrong_NC, targets)).abs().item()
        assert moved == pytest.approx(1 / 300, rel=0.5)

    def test_two_classes_take_one_logit(self, metric: Metric) -> None:
        generator = torch.Generator().manual_seed(0)
        logit, targets = torch.randn(90, generator=generator), torch.randint(0, 2, (90,), generator=generator)
        try:
            metric.fits(2)
        except ValueError:
            return
        expected = metric.value(torch.stack([-logit / 2, logit / 2], 1), targets) if metric.classes else None
        for scores in (logit, logit[:, None]):
            value = metric.value(scores, targets if metric.classes else logit)
            torch.testing.assert_close(value, value if expected is None else expected)

    def test_says_why_it_cannot_be_packed(self, metric: Metric) -> None:
        assert metric.packable != bool(metric.reason)

    def test_is_mapped_over_the_members_of_a_pack(self, metric: Metric, split: tuple[Tensor, Tensor]) -> None:
        if not metric.packable:
            return
        scores, targets = split
        scores_K = torch.stack([scores, -scores, scores.roll(1, 1)])
        value_K = torch.vmap(metric.value, (0, None))(scores_K, targets)
        for own, value in zip(scores_K, value_K, strict=True):
            torch.testing.assert_close(value, metric.value(own, targets))

    def test_survives_scores_that_are_not_numbers(self, metric: Metric, split: tuple[Tensor, Tensor]) -> None:
        scores, targets = split
        assert metric.value(torch.full_like(scores, torch.nan), targets).shape == ()
