"""The percentile rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import override

from hpo.search.pruners import Pruner, pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners("percentile")
class Percentile(Pruner):
    """Stops a trial whose best value so far is not in the best share of others at the same step."""

    percentile: float = Field(ge=0, le=100, description="the share that goes on, in percent: 25 keeps the best quarter")
    n_startup_trials: int = Field(5, ge=0, description="finished trials before any is stopped")
    n_warmup_steps: int = Field(0, ge=0, description="steps of a trial before it can be stopped")
    interval_steps: int = Field(1, ge=1, description="steps between two decisions, counted from the warmup")
    n_min_trials: int = Field(1, ge=1, description="trials that must have reported at a step to decide there")

    @override
    def make(self, max_resource: int | None) -> BasePruner:
        """The decisions of Optuna's PercentilePruner."""
        from hpo.search.pruning.percentile import IndexedPercentile

        return IndexedPercentile(**self.options())
