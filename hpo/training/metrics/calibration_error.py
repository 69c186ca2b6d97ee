"""The metric `calibration_error`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hpo.lazy import torch
from hpo.training.class_metrics import ClassMetric, share
from hpo.training.metrics import metrics

if TYPE_CHECKING:
    from torch import Tensor


@metrics("calibration_error")
class CalibrationError(ClassMetric):
    """Gap between how sure the highest share is and how often it is right, over bins (Guo et al. 2017, 1706.04599)."""

    direction: ClassVar[Literal["maximize", "minimize"]] = "minimize"
    bins: int = Field(15, ge=1, description="equal intervals of the share, 0 to 1, in which examples are compared")
    norm: Literal["l1", "l2", "max"] = Field(
        "l1", description="l1 is the mean gap by examples (ECE), l2 its root mean square, max the largest (MCE)"
    )

    def of_classes(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        sure_N, said_N = scores_NC.softmax(1).max(1)
        right_N = (said_N == target_N).to(sure_N.dtype)
        edges_E = torch.linspace(0, 1, self.bins + 1, device=sure_N.device)
        bin_N = torch.bucketize(sure_N, edges_E, right=True) - 1  # exactly 1 has a bin of its own, as in torchmetrics
        inside_NB = (bin_N[:, None] == torch.arange(self.bins + 1, device=sure_N.device)).to(sure_N.dtype)
        many_B = inside_NB.sum(0)
        gap_B = (share(right_N @ inside_NB, many_B) - share(sure_N @ inside_NB, many_B)).abs()
        if self.norm == "max":
            return gap_B.max()
        share_B = many_B / many_B.sum()
        return (gap_B * share_B).sum() if self.norm == "l1" else (gap_B.square() * share_B).sum().sqrt()
