"""Regularizers, one file an entry, registered with `@regularizers(...)`; weight decay belongs to the optimizer.

An entry fills slots of the loop or changes the model before training; it never sees a step or an epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hpo.registry import Entry, Registry
from hpo.training.slots import Slots

if TYPE_CHECKING:
    from torch import nn

    from hpo.training.losses import Loss


class Regularizer(Entry):
    """One way to regularize. `main` names the field that `regularization.<entry>: number` sets; 0 is off.

    A regularizer whose main field is 0 must train exactly as one that is absent, except that it may undo what the
    user's own model brings.
    """

    main: ClassVar[str]

    @property
    def strength(self) -> float:
        """The main field's value."""
        return float(getattr(self, self.main))

    def fits(self, loss: Loss) -> None:
        """Raises ValueError when it cannot work with this loss."""

    @property
    def smoothing(self) -> float:
        """How much of each target is spread evenly over the classes."""
        return 0.0

    def prepare(self, net: nn.Module) -> None:
        """Change `net` in place, before its optimizer is made."""

    def fill(self, slots: Slots) -> Slots:
        """`slots` with its own part added; called only while `strength` is above 0."""
        return slots


regularizers: Registry[Regularizer] = Registry("regularizer", "hpo.training.regularizers")
