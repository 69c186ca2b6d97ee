"""Regularizers, one file an entry, registered with `@regularizers(...)`; weight decay belongs to the optimizer.

An entry fills slots of the loop or changes the model before training. They are filled in alphabetical order, so that a
gradient is clipped by its norm, then by value, and then gets noise; `sam` finds it before any of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.registry import Entry, Registry
from hpo.training.slots import Now, Slots

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hpo.training.losses import Loss
    from hpo.training.randomness import Number


class Regularizer(Entry):
    """One way to regularize. `main` names the field that `regularization.<entry>: number` sets; 0 is off.

    A regularizer whose main field is 0 must train exactly as one that is absent, except that it may undo what the
    user's own model brings.

    A main field with `json_schema_extra=OVER_TIME` may be moved by a schedule (and differ between the members of a
    pack): slots then read `self.at(now)`, which may be a tensor, in place of the field.
    Facts: `packable` says that its mathematics can run as a member of a pack, `reason` why not; `masks` that its number
    is the rate of dropout modules, which only counted masks can move; `reports` that it fills no slot but `report`, so
    that members of a pack may differ in all of it; `unprivate` why it cannot stand beside `privacy`, where an example's
    gradient would hang on other examples, or leave the `gradient` slot by another way than its result.
    """

    main: ClassVar[str]
    masks: ClassVar[bool] = False
    reports: ClassVar[bool] = False
    packable: ClassVar[bool] = True
    reason: ClassVar[str] = ""
    unprivate: ClassVar[str] = ""

    @property
    def strength(self) -> float:
        """The main field's value."""
        return float(getattr(self, self.main))

    def at(self, now: Now) -> Number:
        """The main field's value in this step."""
        return now.values.get(f"regularization.{self.registered_as}", self.strength)

    def fits(self, loss: Loss) -> None:
        """Raises ValueError when it cannot work with this loss."""

    def smoothing(self, now: Now) -> Number:
        """How much of each target is spread evenly over the classes in this step."""
        del now
        return 0.0

    def prepare(self, net: nn.Module) -> None:
        """Change `net` in place, before its optimizer is made."""

    def fill(self, slots: Slots) -> Slots:
        """`slots` with its own part added; called only while `strength` is above 0."""
        return slots

    def needs_floats(self, x_B: Tensor) -> None:
        """Raises UserError for inputs that cannot be added up, such as words."""
        if not x_B.is_floating_point():
            raise UserError(f"regularization.{self.name}: needs inputs that are floats, the task's are integers")


def shares_of(y_B: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """Targets that can be mixed: classes (B,) as shares of the classes, (B, outputs); floats as they are."""
    if y_B.is_floating_point():
        return y_B
    return (y_B[:, None] == torch.arange(outputs, device=y_B.device)).to(dtype)


regularizers: Registry[Regularizer] = Registry("regularizer", "hpo.training.regularizers")
