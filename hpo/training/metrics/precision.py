"""The metric `precision`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.training.class_metrics import CountMetric, Counts, share
from hpo.training.metrics import metrics

if TYPE_CHECKING:
    from torch import Tensor


@metrics("precision")
class Precision(CountMetric):
    """Share of what was taken for a class that is of it, averaged over classes."""

    def share(self, counts: Counts) -> Tensor:
        return share(counts.right, counts.said)
