"""The metric `average_precision`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.lazy import torch
from hpo.training.class_metrics import RankMetric
from hpo.training.metrics import metrics

if TYPE_CHECKING:
    from torch import Tensor


@metrics("average_precision")
class AveragePrecision(RankMetric):
    """Area under the precision-recall curve: the mean precision at the share of each example of the class.

    Each class against the rest; precision at a share counts all examples with at least that share.
    """

    def of_order(self, share_CN: Tensor, yes_CN: Tensor) -> tuple[Tensor, Tensor]:
        sorted_CN, order_CN = share_CN.sort(1)
        below_CN = torch.searchsorted(sorted_CN, share_CN)
        yes_up_to_CN = yes_CN.gather(1, order_CN).cumsum(1)
        yes_below_CN = torch.nn.functional.pad(yes_up_to_CN, (1, 0)).gather(1, below_CN)
        yes_C1 = yes_CN.sum(1, keepdim=True)
        precision_CN = (yes_C1 - yes_below_CN) / (share_CN.shape[1] - below_CN)
        return (precision_CN * yes_CN).sum(1) / yes_C1[:, 0], yes_C1[:, 0] > 0
