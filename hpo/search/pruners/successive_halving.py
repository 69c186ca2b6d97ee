"""Asynchronous successive halving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator
from typing_extensions import override

from hpo.errors import UserError
from hpo.search.pruners import Pruner, Steps, pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners("successive_halving")
class SuccessiveHalving(Pruner):
    """Asynchronous successive halving: at each rung the best share goes on (Li et al. 2018, arXiv:1810.05934)."""

    min_resource: Steps = Field(
        "auto", description="steps before the first rung; auto: a hundredth of what the first finished trial reported"
    )
    reduction_factor: int = Field(4, ge=2, description="one in so many goes on at each rung")
    min_early_stopping_rate: int = Field(0, ge=0, description="rungs to leave out at the start")
    bootstrap_count: int = Field(0, ge=0, description="trials that must have reached a rung before one goes past it")

    @model_validator(mode="after")
    def _bootstrap_needs_a_number(self) -> Self:
        if self.bootstrap_count and self.min_resource == "auto":
            raise ValueError("bootstrap_count needs min_resource as a number, found auto")
        return self

    @override
    def check(self, *, steps_are_epochs: bool, objectives: int = 1, max_resource: int | None = None) -> None:
        """As for every pruner; UserError too when no trial reaches the first rung: Optuna would prune none."""
        super().check(steps_are_epochs=steps_are_epochs, objectives=objectives, max_resource=max_resource)
        if self.min_resource == "auto" or max_resource is None:
            return
        rung = self.min_resource * self.reduction_factor**self.min_early_stopping_rate
        if rung > max_resource:
            raise UserError(
                f"pruner.min_resource: the first rung must not be above the most steps of a trial, {max_resource}, "
                f"found {rung}"
            )

    @override
    def make(self, max_resource: int | None) -> BasePruner:
        """The decisions of Optuna's SuccessiveHalvingPruner."""
        from hpo.search.pruning.halving import IndexedHalving

        return IndexedHalving(**self.options())
