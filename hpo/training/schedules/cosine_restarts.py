"""The schedule `cosine_restarts`."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from hpo.training.schedules import Array, Schedule, Span, schedules


@schedules("cosine_restarts")
class CosineRestarts(Schedule):
    """Half cosines down to `floor`, one after the other: SGDR (Loshchilov & Hutter 2017, arXiv:1608.03983).

    The cycles fill the steps after the warmup. torch: CosineAnnealingWarmRestarts(T_0 = length of the first cycle).
    """

    cycles: int = Field(3, ge=1, description="how many cycles; 3 start again twice")
    length_factor: float = Field(1.0, ge=1, description="each cycle is this many times as long as the one before")
    peak_factor: float = Field(1.0, gt=0, le=1, description="each cycle starts at this share of the peak before")
    floor: float = Field(0.0, ge=0, le=1, description="lowest factor, approached at the end of each cycle")

    def after_warmup(self, step_T: Array, span: Span) -> Array:
        length_C = self.length_factor ** np.arange(self.cycles, dtype=np.float64)
        length_C *= span.steps / length_C.sum()
        start_C = np.concatenate([[0.0], np.cumsum(length_C)[:-1]])
        # less a rounding error, so that a cycle that starts at a whole step starts there
        cycle_T = np.searchsorted(start_C - 1e-9 * span.steps, step_T, side="right") - 1
        progress_T = np.clip((step_T - start_C[cycle_T]) / length_C[cycle_T], 0, 1)
        peak_T: Array = np.maximum(self.peak_factor ** cycle_T.astype(np.float64), self.floor)
        factor_T: Array = self.floor + (peak_T - self.floor) * 0.5 * (1 + np.cos(np.pi * progress_T))
        return factor_T
