"""What every metric must do, as a class of tests to inherit.

class TestMine(MetricSuite):
    @pytest.fixture
    def metric(self) -> Metric:
        return metrics.parse("mine")
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hpo.testing.entries import EntrySuite
from hpo.training.metrics import Metric, metrics


class MetricSuite(EntrySuite):
    """Tests of one metric entry; a subclass gives it, and the torchmetrics object that it must equal."""

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
    def reference(self) -> Any:
        """A torchmetrics.Metric for 6 classes; None where there is none."""
        return None

    @pytest.fixture(params=[0, 1, 2])
    def split(self, metric: Metric, request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
        """Scores of 300 examples and targets that fit, one class never seen."""
        generator = torch.Generator().manual_seed(request.param)
        scores_NC = torch.randn(300, 6, generator=generator)
        if metric.classes:
            return scores_NC, torch.randint(0, 5, (300,), generator=generator)
        return scores_NC, torch.randn(300, 6, generator=generator)

    def test_is_one_number_that_order_does_not_change(self, metric: Metric, split: tuple[Tensor, Tensor]) -> None:
        scores, targets = split
        value = metric.value(scores, targets)
        order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(9))
        assert value.shape == ()
        assert torch.isfinite(value)
        torch.testing.assert_close(metric.value(scores[order], targets[order]), value)

    def test_equals_torchmetrics(self, metric: Metric, reference: Any, split: tuple[Tensor, Tensor]) -> None:
        if reference is None:
            return
        scores, targets = split
        for rows in torch.split(torch.arange(len(scores)), 37):
            reference.update(scores[rows], targets[rows])
        assert metric.value(scores, targets).item() == reference.compute().item()

    def test_says_truly_what_is_better(self, metric: Metric) -> None:
        targets = torch.arange(6).repeat(10) if metric.classes else torch.randn(60, 6)
        right = torch.nn.functional.one_hot(targets, 6).float() if metric.classes else targets
        good, bad = metric.value(right, targets).item(), metric.value(-right, targets).item()
        assert good > bad if metric.direction == "maximize" else good < bad
