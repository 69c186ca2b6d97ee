"""Losses, one file an entry, registered with `@losses(...)`.

A loss maps scores and targets to a scalar; penalties on weights are regularizers, and metrics are beside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from hpo.registry import Entry, Registry

if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[["Tensor", "Tensor"], "Tensor"]


class Loss(Entry):
    """What training minimizes, the mean over a batch.

    Facts: `classes` says that targets are integer classes (otherwise floats), `smooths` that it takes label smoothing.
    """

    classes: ClassVar[bool]
    smooths: ClassVar[bool] = False

    def build(self, smoothing: float = 0.0) -> LossFunction:
        """A function (scores, targets) -> 0-D tensor. smoothing: 0 unless the entry `smooths`."""
        raise NotImplementedError


losses: Registry[Loss] = Registry("loss", "hpo.training.losses")
