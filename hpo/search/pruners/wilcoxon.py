"""The Wilcoxon signed-rank test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import override

from hpo.search.pruners import Pruner, pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners("wilcoxon")
class Wilcoxon(Pruner):
    """Stops a trial that a signed-rank test finds worse than the best one, step by step on the same instances.

    For functions whose steps are problem instances (folds, seeds, data sets), in any order under fixed numbers.
    """

    steps_are_instances = True

    p_threshold: float = Field(0.1, ge=0, le=1, description="how unlikely chance must be before a trial is stopped")
    n_startup_steps: int = Field(2, ge=0, description="instances that must have been compared before that")

    @override
    def make(self, max_resource: int | None) -> BasePruner:
        """Optuna's WilcoxonPruner, with reasons."""
        from hpo.search.pruning.alone import ExplainedWilcoxon

        return ExplainedWilcoxon(**self.options())
