"""The loss `cross_entropy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hpo.lazy import torch
from hpo.training.losses import Loss, losses

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.randomness import Number


@losses("cross_entropy")
class CrossEntropy(Loss):
    """Negative log likelihood of the true class under a softmax of the scores."""

    classes: ClassVar[bool] = True
    smooths: ClassVar[bool] = True

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        function = torch.nn.functional.cross_entropy
        if isinstance(smoothing, float):
            return function(scores, target, label_smoothing=smoothing)
        return (1 - smoothing) * function(scores, target) - smoothing * scores.log_softmax(1).mean()
