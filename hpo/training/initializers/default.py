"""The initializer `default`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.training.initializers import Initializer, initializers

if TYPE_CHECKING:
    from torch import nn


@initializers("default")
class Default(Initializer):
    """What each module draws for itself when it is built; biases too."""

    def apply(self, net: nn.Module) -> None:
        del net  # its modules have drawn their weights already
