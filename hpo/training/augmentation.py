"""The config section `augmentation`: any number of augmentations of images, each by its name."""

from __future__ import annotations

from typing import Any, ClassVar

from hpo.registry import Registry
from hpo.training.augmentations import Augmenter, augmentations
from hpo.training.strengths import Strengths


class Augmentation(Strengths[Augmenter]):
    """Augmentations by name."""

    title: ClassVar[str] = "augmentation"
    example: ClassVar[str] = "{flip: 0.5}"
    registry: ClassVar[Registry[Any]] = augmentations

    def in_order(self) -> list[Augmenter]:
        """As they are applied."""
        return sorted(self.values(), key=lambda entry: (entry.stage, entry.name))
