"""Losses, one file an entry, registered with `@losses(...)`.

A loss maps scores and targets to a scalar; penalties on weights are regularizers, and metrics are beside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from hpo.registry import Entry, Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hpo.training.randomness import Number

TrainingLoss = Callable[["Tensor", "Tensor", "Tensor", "Number"], "Tensor"]
"""(scores, targets, inputs, label smoothing) -> 0-D tensor."""


class Loss(Entry):
    """What training minimizes, the mean over a batch.

    Facts: `classes` says that targets are integer classes (otherwise floats), `smooths` that it takes label smoothing,
    `packable` that its mathematics can run as a member of a pack, `reason` why not.
    """

    classes: ClassVar[bool]
    smooths: ClassVar[bool] = False
    packable: ClassVar[bool] = True
    reason: ClassVar[str] = ""

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        """The loss as a 0-D tensor; what is reported of a split.

        target: floats, or classes (B,), in training also shares of the classes, float (B, C).
        smoothing: 0 unless the entry `smooths`; a 0-D tensor where members of a pack differ.
        """
        raise NotImplementedError

    def training(self, device: torch.device) -> TrainingLoss:
        """What the loop minimizes: `value`, unless the entry needs the inputs too (a teacher, placed on `device`)."""
        del device
        return lambda scores, target, inputs, smoothing: self.value(scores, target, smoothing)  # noqa: ARG005


losses: Registry[Loss] = Registry("loss", "hpo.training.losses")
