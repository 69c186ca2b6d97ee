"""Augmentations of images, one file an entry, registered with `@augmentations(...)`.

They change the inputs of a training batch on its device, before any regularizer sees it, and no target; an evaluation
sees the images as they are. Those that move pixels come first, then those that change their values, then erasing.

B images of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from hpo.errors import UserError
from hpo.registry import Registry
from hpo.training.slots import Now, Slots
from hpo.training.strengths import Strength

if TYPE_CHECKING:
    from torch import Tensor


class Augmenter(Strength):
    """One way to change images at random, by a strength.

    It draws from `now.draws` under its own name, and from nothing else: so each image of a batch is changed the same
    way alone, in a pack, and when a training is resumed. `augmented` is plain tensor operations of shapes that are
    known beforehand, without an `if` on a tensor, so that it can be mapped over members and traced.
    Facts: `stage` says when it is applied, lower ones first; within a stage in alphabetical order.
    """

    section: ClassVar[str] = "augmentation"
    stage: ClassVar[int] = 0

    @abstractmethod
    def augmented(self, x_BCHW: Tensor, now: Now) -> Tensor:
        """The batch with each of its images changed; the same shape."""

    def uniform(self, now: Now, shape: Sequence[int]) -> Tensor:
        """Its random numbers of this step, float32 in [0, 1); the first dimension is the batch."""
        return now.draws.uniform(f"augmentation.{self.name}", shape)

    def fill(self, slots: Slots) -> Slots:
        before = slots.mix

        def mix(x_B: Tensor, y_B: Tensor, now: Now) -> tuple[Tensor, Tensor]:
            x_B, y_B = before(x_B, y_B, now)
            self.needs_images(x_B)
            return self.augmented(x_B, now), y_B

        return replace(slots, mix=mix)

    def needs_images(self, x_B: Tensor) -> None:
        """Raises UserError for inputs that are no images of floats."""
        if x_B.dim() != 4 or not x_B.is_floating_point():
            kind = "floats" if x_B.is_floating_point() else "integers"
            raise UserError(
                f"augmentation.{self.name}: needs images, floats (channels, height, width); the task's inputs are "
                f"{kind} {tuple(x_B.shape[1:])}"
            )


augmentations: Registry[Augmenter] = Registry("augmentation", "hpo.training.augmentations")
