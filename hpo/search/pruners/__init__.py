"""Pruners by name: one file each, whose fields are Optuna's own arguments.

Entry modules import without optuna (it loads when a pruner is built), and nothing here knows the coordinator.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict

from hpo.errors import UserError
from hpo.registry import Entry, Registry
from hpo.search.notices import experimental_allowed

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def _steps(value: Any) -> Any:
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"must be a whole number from 1, or auto, found {value!r}")
    return value


Steps = Annotated[int | Literal["auto"], BeforeValidator(_steps)]
"""A number of steps, or auto: see the field."""


class Pruner(Entry):
    """When a trial is not worth going on with. Resources are the steps that are reported: epochs, for a task.

    An entry writes `make`; everybody else calls `check`, `build` and `reason`.
    """

    model_config = ConfigDict(strict=True)

    single_objective_only: ClassVar[bool] = True
    """Optuna's `report` raises with several objectives, so only a pruner that never reads one can be used there."""
    decides: ClassVar[bool] = True
    """It may stop a trial; False lets slots send their reports a few at a time, since nothing waits for an answer."""
    steps_are_instances: ClassVar[bool] = False
    """It compares trials step by step, as if each step were another problem; wrong where steps are epochs."""

    @abstractmethod
    def make(self, max_resource: int | None) -> BasePruner:
        """A pruner with these options, ours or Optuna's; `build` says what it may raise.

        It is asked at every report: one that looks through all trials each time makes a long sweep slow, and one that
        `Explains` says why it stopped a trial.
        """

    def build(self, max_resource: int | None) -> BasePruner:
        """The pruner with these options.

        max_resource: the most steps a trial can report, None when it is not known. Raises UserError when the options
        cannot work with it.
        """
        with experimental_allowed():
            return self.make(max_resource)

    def check(self, *, steps_are_epochs: bool, objectives: int = 1, max_resource: int | None = None) -> None:  # noqa: ARG002
        """Raise UserError when this pruner cannot be used for such steps, so many objectives or so few steps.

        max_resource: the most steps a trial can report, None when it is not known.
        """
        if objectives > 1 and self.single_objective_only:
            raise UserError(
                f"pruner: {self.name} takes one objective, found {objectives}; with several it must be none"
            )
        if steps_are_epochs and self.steps_are_instances:
            raise UserError(
                f"pruner: {self.name} compares steps as problem instances, and the steps of a task are epochs; "
                "median and hyperband read epochs"
            )

    def reason(self, study: Study, trial: FrozenTrial) -> str:
        """Why `trial` was stopped, for people; to be asked right after the decision, of the study that was pruned.

        `pruned at step 6 by median: 0.812 below the median 0.874 of 41`, or only the value, where the study's pruner
        does not say.
        """
        from hpo.search.pruning.told import Explains

        step = trial.last_step
        if step is None:
            return f"pruned by {self.name}"
        said = study.pruner.why(trial) if isinstance(study.pruner, Explains) else None
        return f"pruned at step {step} by {self.name}: {said or f'value {trial.intermediate_values[step]:.6g}'}"

    def options(self) -> dict[str, Any]:
        """The fields as arguments of Optuna's pruner."""
        return {name: getattr(self, name) for name in type(self).model_fields}


pruners: Registry[Pruner] = Registry("pruner", "hpo.search.pruners")

__all__ = ["Pruner", "Steps", "pruners"]
