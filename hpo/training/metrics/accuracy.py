"""The metric `accuracy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hpo.training.class_metrics import CountMetric, Counts, share
from hpo.training.metrics import metrics

if TYPE_CHECKING:
    from torch import Tensor


@metrics("accuracy")
class Accuracy(CountMetric):
    """Share of examples whose highest score is the true class."""

    average: Literal["micro", "macro", "weighted", "binary"] = Field(
        "micro", description="micro counts examples alike; any other makes it the recall of the classes"
    )

    def share(self, counts: Counts) -> Tensor:
        return share(counts.right, counts.there)
