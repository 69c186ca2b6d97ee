"""The schedule `constant`."""

from __future__ import annotations

import numpy as np

from hpo.training.schedules import Array, Schedule, schedules


@schedules("constant")
class Constant(Schedule):
    """The full learning rate at every step after the warmup."""

    def factor(self, progress_T: Array) -> Array:
        return np.ones_like(progress_T)
