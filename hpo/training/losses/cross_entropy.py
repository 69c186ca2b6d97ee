"""The loss `cross_entropy`."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from hpo.lazy import torch
from hpo.training.losses import Loss, LossFunction, losses


@losses("cross_entropy")
class CrossEntropy(Loss):
    """Negative log likelihood of the true class under a softmax of the scores."""

    classes: ClassVar[bool] = True
    smooths: ClassVar[bool] = True

    def build(self, smoothing: float = 0.0) -> LossFunction:
        return partial(torch.nn.functional.cross_entropy, label_smoothing=smoothing)
