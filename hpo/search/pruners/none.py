"""No pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from hpo.search.pruners import Pruner, pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners("none")
class NoPruner(Pruner):
    """Never stops a trial; the only pruner for several objectives."""

    single_objective_only = False
    decides = False

    @override
    def make(self, max_resource: int | None) -> BasePruner:
        """Optuna's NopPruner."""
        from optuna.pruners import NopPruner

        return NopPruner()
