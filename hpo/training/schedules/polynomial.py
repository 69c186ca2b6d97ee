"""The schedule `polynomial`."""

from __future__ import annotations

from pydantic import Field

from hpo.training.schedules import Array, Schedule, schedules


@schedules("polynomial")
class Polynomial(Schedule):
    """From 1 down to `floor` along a power of the time that is left (Chen et al. 2018, arXiv:1606.00915)."""

    floor: float = Field(0.0, ge=0, le=1, description="lowest factor, approached at the last step")
    power: float = Field(2.0, gt=0, description="1 is a straight line, 2 a parabola that flattens at the end")

    def factor(self, progress_T: Array) -> Array:
        return self.floor + (1 - self.floor) * (1 - progress_T) ** self.power
