"""Hyperband."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import override

from hpo.errors import UserError
from hpo.search.pruners import Pruner, Steps, pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@pruners("hyperband")
class Hyperband(Pruner):
    """Successive halving in several brackets that differ in how early they cut (Li et al. 2018, arXiv:1603.06560).

    A trial's bracket comes from the study's name and the trial's number, so it never changes.
    """

    min_resource: int = Field(1, ge=1, description="steps before the first cut of the boldest bracket")
    max_resource: Steps = Field(
        "auto",
        description="most steps a trial reports; auto: the configuration's epochs, else the first finished trial's",
    )
    reduction_factor: int = Field(3, ge=2, description="one in so many goes on at each cut")
    bootstrap_count: int = Field(0, ge=0, description="trials that must have reached a cut before one goes past it")

    @override
    def check(self, *, steps_are_epochs: bool, objectives: int = 1, max_resource: int | None = None) -> None:
        """As for every pruner; UserError too when no trial reaches `min_resource`: Optuna would prune none."""
        super().check(steps_are_epochs=steps_are_epochs, objectives=objectives, max_resource=max_resource)
        self._most(max_resource)

    def _most(self, max_resource: int | None) -> int | str:
        most = max_resource if self.max_resource == "auto" and max_resource is not None else self.max_resource
        if most != "auto" and most < self.min_resource:
            raise UserError(
                f"pruner.min_resource: must not be above the most steps of a trial, {most}, found {self.min_resource}"
            )
        if most == "auto" and self.bootstrap_count:
            raise UserError("pruner.bootstrap_count: needs max_resource as a number, found auto")
        return most

    @override
    def make(self, max_resource: int | None) -> BasePruner:
        """Optuna's decisions, with `max_resource` where the option says auto."""
        from hpo.search.pruning.hyperband import IndexedHyperband

        return IndexedHyperband(**(self.options() | {"max_resource": self._most(max_resource)}))
