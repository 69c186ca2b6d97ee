"""The schedule `cyclic`."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from hpo.training.schedules import Array, Schedule, Span, schedules


@schedules("cyclic")
class Cyclic(Schedule):
    """Up from `start` to 1 and back along straight lines, again and again (Smith 2017, arXiv:1506.01186).

    The cycles fill the steps after the warmup; behind a warmup they start at their peak instead.
    torch: CyclicLR(base_lr=start, max_lr=1), for exp_range with gamma = final ** (1 / steps).
    """

    cycles: int = Field(4, ge=1, description="how many times up and down")
    rise: float = Field(0.5, gt=0, lt=1, description="share of each cycle that goes up")
    start: float = Field(0.1, gt=0, le=1, description="lowest factor, where each cycle starts and ends")
    mode: Literal["triangular", "triangular2", "exp_range"] = Field(
        "triangular", description="peaks alike, each half as high over the start, or falling with every step"
    )
    final: float = Field(0.1, gt=0, le=1, description="height over the start that exp_range has left at the end")

    def after_warmup(self, step_T: Array, span: Span) -> Array:
        length = span.steps / self.cycles
        begin = self.rise if span.warmup else 0.0
        cycle_T = np.floor((step_T + 1e-9) / length + begin)
        place_T = np.clip(step_T / length + begin - cycle_T, 0, 1)
        up_T = np.where(place_T <= self.rise, place_T / self.rise, (1 - place_T) / (1 - self.rise))
        height_T = {
            "triangular": np.ones_like(step_T),
            "triangular2": 0.5**cycle_T,
            "exp_range": self.final ** (step_T / span.steps),
        }[self.mode]
        return 1 - (1 - self.start) * (1 - up_T * height_T)
