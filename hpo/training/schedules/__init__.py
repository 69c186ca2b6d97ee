"""Learning-rate schedules as tables, one file an entry, registered with `@schedules(...)`.

NumPy float64 only, no torch and no state: a schedule is evaluated once over all steps, and then it is data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from hpo.errors import UserError
from hpo.registry import Entry, Registry

Array = NDArray[np.float64]


class Schedule(Entry):
    """Factors that multiply the learning rate, one for each optimizer step.

    Steps count from 0, and the factor of step t is the one its update uses. After the warmup, progress runs from 0 at
    the first step towards 1, which the step after the last would have: an end value is approached, and no step is lost
    at a learning rate of 0. That is torch's convention with T_max, total_iters ... set to the number of steps.

    Warmup of W steps is a linear rise over factors 1/(W+1) ... W/(W+1), so that step 0 moves and step W has the full
    rate (torch: LinearLR(start_factor=1/(W+1), total_iters=W)).

    An entry defines `factor(progress)`, elementwise; one that needs whole steps overrides `after_warmup`.
    """

    warmup_fraction: float = Field(0.0, ge=0, lt=1, description="share of all steps spent rising to the full rate")
    warmup_steps: int = Field(0, ge=0, description="optimizer steps spent rising; instead of warmup_fraction")

    @field_validator("warmup_steps")
    @classmethod
    def _one_warmup(cls, steps: int, info: ValidationInfo) -> int:
        if steps and info.data.get("warmup_fraction"):
            raise ValueError(f"{steps} beside warmup_fraction {info.data['warmup_fraction']}; set one of the two")
        return steps

    def factor(self, progress_T: Array) -> Array:
        """Factors at `progress_T`, values in [0, 1) that may come in any order; must be elementwise."""
        raise NotImplementedError

    def after_warmup(self, step_T: Array, steps: int) -> Array:
        """Factors of steps `step_T`, counted from the end of the warmup, of `steps` in all."""
        return self.factor(step_T / steps)

    def factors(self, steps: int) -> Array:
        """The table: one factor for each of `steps` optimizer steps, float64.

        Raises UserError when the warmup leaves no step after it.
        """
        if steps < 1:
            raise UserError(f"steps: must be at least 1, found {steps}")
        warmup = self.warmup(steps)
        rise_W = np.arange(1, warmup + 1, dtype=np.float64) / (warmup + 1)
        rest = steps - warmup
        return np.concatenate([rise_W, self.after_warmup(np.arange(rest, dtype=np.float64), rest)])

    def warmup(self, steps: int) -> int:
        """How many of `steps` are spent rising; UserError when that is all of them."""
        warmup = self.warmup_steps or round(self.warmup_fraction * steps)
        if warmup >= steps:
            key = "warmup_steps" if self.warmup_steps else "warmup_fraction"
            raise UserError(
                f"schedule.{key}: {getattr(self, key)} makes {warmup} warmup steps, "
                f"which must be fewer than the {steps} steps of this training"
            )
        return warmup


def only_one_warmup(raw: Any) -> Any:
    """For entries whose `warmup_fraction` is not 0 by default: `warmup_steps` alone replaces it."""
    if isinstance(raw, dict) and raw.get("warmup_steps"):
        return {"warmup_fraction": 0.0, **raw}
    return raw


schedules: Registry[Schedule] = Registry("schedule", "hpo.training.schedules")
