"""Losses, one file an entry, registered with `@losses(...)`.

A loss maps scores and targets to a scalar; penalties on weights are regularizers, and metrics are beside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hpo.registry import Entry, Registry

if TYPE_CHECKING:
    from typing import Self

    import torch
    from torch import Tensor

    from hpo.tasks import Task
    from hpo.training.randomness import Number

TrainingLoss = Callable[["Tensor", "Tensor", "Tensor", "Number"], "Tensor"]
"""(scores, targets, inputs, label smoothing) -> 0-D tensor."""


class Loss(Entry):
    """What training minimizes, the mean over a batch.

    Written in tensor terms for one network: under torch.func.vmap a pack has 0-D tensors in the fields that are floats
    (`at`), so nothing may branch on one.

    Facts: `classes` says that targets are integer classes (False: floats, None: either), `smooths` that it takes label
    smoothing, `packable` that its mathematics can run as a member of a pack, `reason` why not.
    """

    classes: ClassVar[bool | None]
    smooths: ClassVar[bool] = False
    packable: ClassVar[bool] = True
    reason: ClassVar[str] = ""

    @classmethod
    def takes(cls, classes: bool) -> bool:
        """Whether it fits targets that are integer classes, or floats."""
        return cls.classes in (None, classes)

    def files(self, folder: Path) -> tuple[Path, ...]:
        """The files outside of the sweep that it rests on, looked up from `folder`. Raises what `placed` raises."""
        del folder
        return ()

    def placed(self, folder: Path) -> Self:
        """The same loss with the files it names looked up from `folder`. Raises UserError for one that is not there."""
        del folder
        return self

    def fitted(self, target_N: Tensor, outputs: int) -> Self:
        """The same loss with what hangs on the training targets written out; what is trained and reported with.

        outputs: scores for one example. Raises UserError for what does not fit the targets.
        """
        del target_N, outputs
        return self

    def unprivate(self) -> tuple[tuple[str, ...], str] | None:
        """Why it cannot stand beside `privacy`, and the keys below `loss`; None where it can.

        It can where an example's share of the loss hangs on no other training example, here or at an earlier time.
        """
        return None

    def at(self, numbers: Mapping[str, Number]) -> Self:
        """The same loss with other numbers in its fields, 0-D tensors in a member of a pack; they are not checked."""
        return self.model_copy(update=dict(numbers)) if numbers else self

    def value(self, scores: Tensor, target: Tensor, smoothing: Number = 0.0) -> Tensor:
        """The loss as a 0-D tensor; what is reported of a split.

        target: floats, or classes (B,), in training also shares of the classes, float (B, C).
        smoothing: 0 unless the entry `smooths`; a 0-D tensor where members of a pack differ.
        """
        raise NotImplementedError

    def weight(self, target: Tensor) -> Tensor | float:
        """How much a part of a batch counts: `value` of a batch is the mean of its parts' weighted by this."""
        return float(len(target))

    def training(self, task: Task, device: torch.device) -> TrainingLoss:
        """What the loop minimizes: `value`, unless the entry needs the inputs too (a teacher, placed on `device`)."""
        del task, device
        return lambda scores, target, inputs, smoothing: self.value(scores, target, smoothing)  # noqa: ARG005


losses: Registry[Loss] = Registry("loss", "hpo.training.losses")
