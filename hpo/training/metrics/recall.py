"""The metric `recall`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.training.class_metrics import CountMetric, Counts, share
from hpo.training.metrics import metrics

if TYPE_CHECKING:
    from torch import Tensor


@metrics("recall")
class Recall(CountMetric):
    """Share of each class's examples that were found, averaged over classes."""

    def share(self, counts: Counts) -> Tensor:
        return share(counts.right, counts.there)
