"""The metric `r2`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hpo.lazy import torch
from hpo.training.metrics import Metric, metrics
from hpo.training.scores import alike

if TYPE_CHECKING:
    from torch import Tensor


@metrics("r2")
class R2(Metric):
    """Share of the targets' variance that the scores explain, the mean over outputs; 1 is all of it.

    Where the targets of an output do not vary it is 1 if they are met and 0 otherwise.
    """

    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    classes: ClassVar[bool] = False

    def value(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        target_NO = target_N.reshape(len(target_N), -1).double()
        left_O = (alike(scores_NC, target_N).reshape(len(target_N), -1) - target_NO).square().sum(0)
        there_O = (target_NO - target_NO.mean(0)).square().sum(0)
        flat_O = torch.where(left_O == 0, 1.0, 0.0).double()
        return torch.where(there_O == 0, flat_O, 1 - left_O / there_O).mean().float()
