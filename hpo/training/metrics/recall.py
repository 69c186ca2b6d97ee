"""The metric `recall`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hpo.training.metrics import Metric, metrics
from hpo.training.quick_torchmetrics import functional

if TYPE_CHECKING:
    from torch import Tensor


@metrics("recall")
class Recall(Metric):
    """Share of each class's examples that were found, averaged over classes."""

    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    classes: ClassVar[bool] = True
    average: Literal["micro", "macro", "weighted"] = Field(
        "macro", description="micro counts examples alike, macro classes alike, weighted classes by their frequency"
    )

    def value(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        found: Tensor = functional().multiclass_recall(
            scores_NC, target_N, scores_NC.shape[1], average=self.average, validate_args=False
        )
        return found
