"""The sections of a config whose entries are turned on by a number, with their registries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hpo.registry import Registry
from hpo.training.augmentations import augmentations
from hpo.training.regularizers import regularizers

if TYPE_CHECKING:
    from hpo.training.config import TrainingConfig
    from hpo.training.strengths import Strength

STRENGTHS: Mapping[str, Registry[Any]] = {"augmentation": augmentations, "regularization": regularizers}


def strengths_of(config: TrainingConfig) -> Iterator[tuple[str, Strength]]:
    """The entries of a config, on or off, by their paths."""
    for section in STRENGTHS:
        for name, entry in getattr(config, section).items():
            yield f"{section}.{name}", entry
