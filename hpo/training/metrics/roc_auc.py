"""The metric `roc_auc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.lazy import torch
from hpo.training.class_metrics import RankMetric
from hpo.training.metrics import metrics

if TYPE_CHECKING:
    from torch import Tensor


@metrics("roc_auc")
class RocAuc(RankMetric):
    """Area under the ROC curve: how often an example of a class has a higher share of it than another has.

    By ranks (Mann & Whitney 1947), each class against the rest; ties count half. NaN where all are of one class.
    """

    def of_order(self, share_CN: Tensor, yes_CN: Tensor) -> tuple[Tensor, Tensor]:
        sorted_CN = share_CN.sort(1).values
        below_CN = torch.searchsorted(sorted_CN, share_CN)
        up_to_CN = torch.searchsorted(sorted_CN, share_CN, right=True)
        rank_CN = (below_CN + up_to_CN + 1) / 2
        yes_C, no_C = yes_CN.sum(1), (1 - yes_CN).sum(1)
        above_C = (rank_CN * yes_CN).sum(1) - yes_C * (yes_C + 1) / 2
        return above_C / (yes_C * no_C), (yes_C > 0) & (no_C > 0)
