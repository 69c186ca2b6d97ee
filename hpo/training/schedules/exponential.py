"""The schedule `exponential`."""

from __future__ import annotations

from pydantic import Field

from hpo.training.schedules import Array, Schedule, schedules


@schedules("exponential")
class Exponential(Schedule):
    """Falls by the same ratio at every step, from 1 down to `final`."""

    final: float = Field(0.01, gt=0, le=1, description="lowest factor, approached at the last step")

    def factor(self, progress_T: Array) -> Array:
        return self.final**progress_T
