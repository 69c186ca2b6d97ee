"""The schedule `one_cycle`."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field, model_validator

from hpo.training.schedules import Array, Schedule, only_one_warmup, schedules


@schedules("one_cycle")
class OneCycle(Schedule):
    """Up to the full rate and down to nearly none, both along half cosines (Smith & Topin 2018, arXiv:1708.07120).

    The warmup is the rise, and starts at 1/`start_divisor`. The learning rate is the highest one (torch: max_lr).
    Unlike the other schedules the last step has the end value, as in torch.
    """

    warmup_fraction: float = Field(0.3, ge=0, lt=1, description="share of all steps spent rising to the full rate")
    start_divisor: float = Field(25.0, ge=1, description="the first factor is 1 / start_divisor")
    final_divisor: float = Field(1e4, ge=1, description="the last factor is the first one / final_divisor")

    _only_one = model_validator(mode="before")(only_one_warmup)

    def factors(self, steps: int) -> Array:
        self.warmup(steps)  # raises when it is too long
        # as in torch the rise may end between two steps, and the fall ends at the last one
        peak = max((self.warmup_steps or self.warmup_fraction * steps) - 1, 0)
        step_T = np.arange(steps, dtype=np.float64)
        first, last = 1 / self.start_divisor, 1 / self.start_divisor / self.final_divisor
        up_T = _half_cosine(first, 1.0, step_T / peak if peak > 0 else np.ones(steps))
        down_T = _half_cosine(1.0, last, (step_T - peak) / max(steps - 1 - peak, 1e-12))
        return np.where(step_T <= peak, up_T, down_T)


def _half_cosine(start: float, end: float, progress: Any) -> Array:
    curve: Array = end + (start - end) * 0.5 * (1 + np.cos(np.pi * np.clip(progress, 0, 1)))
    return curve
