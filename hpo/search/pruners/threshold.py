"""Fixed bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator
from typing_extensions import override

from hpo.search.pruners import Pruner, pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners("threshold")
class Threshold(Pruner):
    """Stops a trial that reports a value below `lower`, above `upper`, or NaN."""

    lower: float | None = Field(None, description="lowest value to go on with; null: none")
    upper: float | None = Field(None, description="highest value to go on with; null: none")
    n_warmup_steps: int = Field(0, ge=0, description="steps of a trial before it can be stopped")
    interval_steps: int = Field(1, ge=1, description="steps between two decisions, counted from the warmup")

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError("needs lower, upper or both, found neither")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower must not be above upper, found lower {self.lower} and upper {self.upper}")
        return self

    @override
    def make(self, max_resource: int | None) -> BasePruner:
        """Optuna's ThresholdPruner, with reasons."""
        from hpo.search.pruning.alone import ExplainedThreshold

        return ExplainedThreshold(**self.options())
