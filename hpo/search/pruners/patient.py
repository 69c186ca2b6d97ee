"""Patience before another pruner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, WithJsonSchema
from typing_extensions import override

from hpo.search.pruners import Pruner, pruners

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

# its schema is stated, not asked of the registry: that one holds this entry again, and would never end
Wrapped = Annotated[Annotated[Pruner, pruners] | None, WithJsonSchema({"type": ["string", "object", "null"]})]


@pruners("patient")
class Patient(Pruner):
    """Asks another pruner only when a trial has not improved for `patience` steps; alone, it is early stopping."""

    wrapped: Wrapped = Field(None, description="the pruner that is asked then; null: the trial is stopped")
    patience: int = Field(ge=0, description="steps without improvement")
    min_delta: float = Field(0.0, ge=0, description="least change that counts as one")

    @override
    def check(self, *, steps_are_epochs: bool, objectives: int = 1, max_resource: int | None = None) -> None:
        """As for every pruner, and for the one it wraps."""
        super().check(steps_are_epochs=steps_are_epochs, objectives=objectives, max_resource=max_resource)
        if self.wrapped is not None:
            self.wrapped.check(steps_are_epochs=steps_are_epochs, objectives=objectives, max_resource=max_resource)

    @override
    def make(self, max_resource: int | None) -> BasePruner:
        """Optuna's PatientPruner, with reasons."""
        from hpo.search.pruning.alone import ExplainedPatience

        inner = None if self.wrapped is None else self.wrapped.build(max_resource)
        return ExplainedPatience(inner, patience=self.patience, min_delta=self.min_delta)
