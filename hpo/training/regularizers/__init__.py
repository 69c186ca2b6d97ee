"""Regularizers, one file an entry, registered with `@regularizers(...)`; weight decay belongs to the optimizer.

An entry fills slots of the loop or changes the model before training. They are filled in alphabetical order, so that a
gradient is clipped by its norm, then by value, and then gets noise; `sam` finds it before any of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.registry import Registry
from hpo.training.slots import Now
from hpo.training.strengths import Strength

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hpo.training.losses import Loss
    from hpo.training.randomness import Number


class Regularizer(Strength):
    """One way to regularize, by a strength; of 0 it may still undo what the user's own model brings.

    Facts: `masks` says that its number is the rate of dropout modules, which only counted masks can move; `reports`
    that it fills no slot but `report`, so that members of a pack may differ in all of it; `unprivate` why it cannot
    stand beside `privacy`, where an example's gradient would hang on other examples, or leave the `gradient` slot by
    another way than its result.
    """

    section: ClassVar[str] = "regularization"
    masks: ClassVar[bool] = False
    reports: ClassVar[bool] = False
    unprivate: ClassVar[str] = ""

    def fits(self, loss: Loss) -> None:
        """Raises ValueError when it cannot work with this loss."""

    def smoothing(self, now: Now) -> Number:
        """How much of each target is spread evenly over the classes in this step."""
        del now
        return 0.0

    def prepare(self, net: nn.Module) -> None:
        """Change `net` in place, before its optimizer is made."""

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
