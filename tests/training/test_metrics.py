"""Every metric against its suite and torchmetrics."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import torchmetrics.classification as classification

from hpo.testing.metrics import MetricSuite
from hpo.training.metrics import Metric, metrics

CLASSES = {
    "accuracy": classification.MulticlassAccuracy,
    "recall": classification.MulticlassRecall,
    "f1": classification.MulticlassF1Score,
}


class TestMetrics(MetricSuite):
    @pytest.fixture(params=[(name, average) for name in metrics for average in ("micro", "macro", "weighted")])
    def case(self, request: pytest.FixtureRequest) -> tuple[str, str]:
        return request.param  # type: ignore[no-any-return]

    @pytest.fixture
    def metric(self, case: tuple[str, str]) -> Metric:
        return metrics.parse({"name": case[0], "average": case[1]})

    @pytest.fixture
    def reference(self, case: tuple[str, str]) -> Any:
        return CLASSES[case[0]](num_classes=6, average=case[1])


def test_the_usual_averages_are_the_defaults() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    targets = torch.tensor([0, 0, 0, 1])
    assert metrics.parse("accuracy").value(scores, targets).item() == 0.75
    assert metrics.parse("recall").value(scores, targets).item() == 0.5
    assert metrics.parse("f1").value(scores, targets).item() == pytest.approx((2 * 0.75 / 1.75 + 0) / 2)


def test_the_stand_in_for_scipy_signal_is_gone_after_the_import() -> None:
    program = """
import sys
from hpo.training.quick_torchmetrics import functional
assert functional().multiclass_accuracy
assert "scipy.signal" not in sys.modules, "torchmetrics has loaded it after all"
from scipy.signal import windows
assert len(windows.hamming(5)) == 5
import scipy
assert scipy.signal.windows is windows
"""
    subprocess.run([sys.executable, "-c", program], check=True)
