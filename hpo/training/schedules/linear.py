"""The schedule `linear`."""

from __future__ import annotations

from pydantic import Field

from hpo.training.schedules import Array, Schedule, schedules


@schedules("linear")
class Linear(Schedule):
    """A straight line from 1 down to `floor`."""

    floor: float = Field(0.0, ge=0, le=1, description="lowest factor, approached at the last step")

    def factor(self, progress_T: Array) -> Array:
        return 1 - (1 - self.floor) * progress_T
