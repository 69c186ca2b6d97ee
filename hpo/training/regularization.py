"""The config section `regularization`: any number of regularizers, each by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hpo.registry import Registry
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.strengths import Strengths

if TYPE_CHECKING:
    from hpo.training.randomness import Number
    from hpo.training.slots import Now


class Regularization(Strengths[Regularizer]):
    """Regularizers by name."""

    title: ClassVar[str] = "regularization"
    example: ClassVar[str] = "{dropout: 0.3}"
    registry: ClassVar[Registry[Any]] = regularizers

    def smoothing(self, now: Now) -> Number:
        """The label smoothing of this step."""
        return sum((entry.smoothing(now) for entry in self.values()), start=0.0)
