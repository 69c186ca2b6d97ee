"""The schedule `inverse_sqrt`."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field, model_validator

from hpo.training.schedules import Array, Schedule, Span, only_one_warmup, schedules


@schedules("inverse_sqrt")
class InverseSqrt(Schedule):
    """Falls like one over the square root of the step, after a warmup: Noam (Vaswani et al. 2017, arXiv:1706.03762).

    With a warmup of W steps, step t has the smaller of (t+1) / (W+1) and sqrt((W+1) / (t+1)).
    """

    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="share of all steps spent rising to the full rate")

    _only_one: Any = model_validator(mode="before")(only_one_warmup)

    def after_warmup(self, step_T: Array, span: Span) -> Array:
        return np.sqrt((span.warmup + 1) / (span.warmup + 1 + step_T))
