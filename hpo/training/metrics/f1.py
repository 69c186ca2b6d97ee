"""The metric `f1`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.training.class_metrics import CountMetric, Counts, share
from hpo.training.metrics import metrics

if TYPE_CHECKING:
    from torch import Tensor


@metrics("f1")
class F1(CountMetric):
    """Harmonic mean of precision and recall of each class, averaged over classes."""

    def share(self, counts: Counts) -> Tensor:
        return share(2 * counts.right, counts.said + counts.there)
