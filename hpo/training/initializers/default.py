"""The initializer `default`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from hpo.training.anatomy import Kind
from hpo.training.initializers import Bias, Initializer, initializers


@initializers("default")
class Default(Initializer):
    """What each module draws for itself when it is built; biases too, unless `bias` says otherwise."""

    kinds: ClassVar[frozenset[Kind]] = frozenset()
    bias: Bias = Field("default", description="biases of all layers with weights: 0, as built, or bias_value")
