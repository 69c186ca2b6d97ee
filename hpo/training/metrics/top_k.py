"""The metric `top_k`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.lazy import torch
from hpo.training.class_metrics import ClassMetric
from hpo.training.metrics import metrics

if TYPE_CHECKING:
    from torch import Tensor


@metrics("top_k")
class TopK(ClassMetric):
    """Share of examples whose true class is among the `k` highest scores."""

    counts: ClassVar[bool] = True
    k: int = Field(5, ge=1, description="how many of the highest scores count; fewer than there are classes")

    def fits(self, outputs: int) -> None:
        if self.k >= outputs:
            raise ValueError(f"k {self.k} is always right, the task has {outputs} classes")

    def of_classes(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        class_C, target_N1 = torch.arange(scores_NC.shape[1], device=scores_NC.device), target_N[:, None]
        true_N1 = scores_NC.gather(1, target_N1)
        # of equal scores the first class counts as the highest, on every device
        before_NC = (scores_NC > true_N1) | ((scores_NC == true_N1) & (class_C < target_N1))
        return (before_NC.sum(1) < self.k).float().mean()
