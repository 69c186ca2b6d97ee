"""The schedule `cosine`."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from hpo.training.schedules import Array, Schedule, schedules


@schedules("cosine")
class Cosine(Schedule):
    """Half a cosine from 1 down to `floor` (Loshchilov & Hutter 2017, arXiv:1608.03983)."""

    floor: float = Field(0.0, ge=0, le=1, description="lowest factor, approached at the last step")

    def factor(self, progress_T: Array) -> Array:
        return self.floor + (1 - self.floor) * 0.5 * (1 + np.cos(np.pi * progress_T))
