"""The schedule `one_cycle`."""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from hpo.training.schedules import Array, Schedule, Shape, curve, only_one_warmup, schedules


@schedules("one_cycle")
class OneCycle(Schedule):
    """Up to the full rate and down to nearly none, in one cycle (Smith & Topin 2018, arXiv:1708.07120).

    The warmup is the rise, and starts at 1/`start_divisor`. The learning rate is the highest one (torch: max_lr).
    Unlike the other schedules the last step has the end value, as in torch.
    """

    warmup_fraction: float = Field(0.3, ge=0, lt=1, description="share of all steps spent rising to the full rate")
    warmup_shape: Shape = Field("cosine", description="the curve of the rise")
    fall: Shape = Field("cosine", description="the curve of the fall")
    start_divisor: float = Field(25.0, ge=1, description="the first factor is 1 / start_divisor")
    final_divisor: float = Field(1e4, ge=1, description="the last factor is the first one / final_divisor")

    _only_one = model_validator(mode="before")(only_one_warmup)

    def factors(self, steps: int, key: str = "schedule") -> Array:
        self.fits(steps, key)
        # as in torch the rise may end between two steps, and the fall ends at the last one
        peak = max((self.warmup_steps or self.warmup_fraction * steps) - 1, 0)
        step_T = np.arange(steps, dtype=np.float64)
        first, last = 1 / self.start_divisor, 1 / self.start_divisor / self.final_divisor
        up_T = curve(self.warmup_shape, first, 1.0, np.clip(step_T / peak, 0, 1) if peak > 0 else np.ones(steps))
        down_T = curve(self.fall, 1.0, last, np.clip((step_T - peak) / max(steps - 1 - peak, 1e-12), 0, 1))
        return np.where(step_T <= peak, up_T, down_T)
