"""The schedule `step`."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from hpo.training.schedules import Array, Schedule, Span, schedules


@schedules("step")
class Step(Schedule):
    """Drops by the factor `gamma` at evenly spaced moments (He et al. 2016, arXiv:1512.03385)."""

    drops: int = Field(2, ge=1, description="how many drops; 2 drops come after one and two thirds of the steps")
    gamma: float = Field(0.1, gt=0, le=1, description="factor of each drop")

    def after_warmup(self, step_T: Array, span: Span) -> Array:
        # whole numbers, so that a drop comes exactly where it should: 2/3 * 3 is not 2 in floating point
        return self.gamma ** (step_T.astype(np.int64) * (self.drops + 1) // span.steps).astype(np.float64)
