"""Schedules as tables, one file an entry, registered with `@schedules(...)`.

NumPy float64 only, no torch and no state: a schedule is evaluated once over all steps, and then it is data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from hpo.errors import UserError
from hpo.registry import Entry, Registry

Array = NDArray[np.float64]


Shape = Literal["linear", "exponential", "cosine"]


def curve(shape: Shape, start: float, end: float, progress_T: Array) -> Array:
    """From `start` to `end` as progress goes from 0 to 1."""
    if shape == "exponential":
        ratio_T: Array = start * (end / start) ** progress_T
        return ratio_T
    left_T: Array = 0.5 * (1 + np.cos(np.pi * progress_T)) if shape == "cosine" else 1 - progress_T
    return end - (end - start) * left_T


class Span(NamedTuple):
    """How many optimizer steps there are after the warmup, and how many in it."""

    steps: int
    warmup: int


class Schedule(Entry):
    """Factors that multiply a number of the config, one for each optimizer step; `schedule:` moves the learning rate.

    Steps count from 0, and the factor of step t is the one its update uses. After the warmup, progress runs from 0 at
    the first step towards 1, which the step after the last would have: an end value is approached, and no step is lost
    at a learning rate of 0. That is torch's convention with T_max, total_iters ... set to the number of steps.
    Whatever an entry says of times counts from the end of the warmup.

    Warmup of W steps rises from 1/(W+1), so that step 0 moves, to 1, which step W has: linear is torch's
    LinearLR(start_factor=1/(W+1), total_iters=W), with factors 1/(W+1) ... W/(W+1).

    An entry defines `factor(progress)`, elementwise; one that needs whole steps overrides `after_warmup`, and `fits`
    where it has moments that could lie outside the run. Fact: `reactive` says that it follows a metric, and then
    `after_reports` says how.
    """

    reactive: ClassVar[bool] = False

    warmup_fraction: float = Field(0.0, ge=0, lt=1, description="share of all steps spent rising to the full rate")
    warmup_steps: int = Field(0, ge=0, description="optimizer steps spent rising; instead of warmup_fraction")
    warmup_shape: Shape = Field("linear", description="rise by equal amounts, by equal ratios, or along half a cosine")

    @field_validator("warmup_steps")
    @classmethod
    def _one_warmup(cls, steps: int, info: ValidationInfo) -> int:
        if steps and info.data.get("warmup_fraction"):
            raise ValueError(f"{steps} beside warmup_fraction {info.data['warmup_fraction']}; set one of the two")
        return steps

    def factor(self, progress_T: Array) -> Array:
        """Factors at `progress_T`, values in [0, 1) that may come in any order; must be elementwise."""
        raise NotImplementedError

    def after_warmup(self, step_T: Array, span: Span) -> Array:
        """Factors of steps `step_T`, counted from the end of the warmup."""
        return self.factor(step_T / span.steps)

    def factors(self, steps: int, key: str = "schedule") -> Array:
        """The table: one factor for each of `steps` optimizer steps, float64.

        Raises UserError, naming the field below `key`, for a moment outside the run.
        """
        if steps < 1:
            raise UserError(f"steps: must be at least 1, found {steps}")
        self.fits(steps, key)
        warmup = self.warmup(steps)
        progress_W = np.arange(warmup, dtype=np.float64) / max(warmup, 1)
        rise_W = curve(self.warmup_shape, 1 / (warmup + 1), 1.0, progress_W)
        rest = steps - warmup
        return np.concatenate([rise_W, self.after_warmup(np.arange(rest, dtype=np.float64), Span(rest, warmup))])

    def warmup(self, steps: int) -> int:
        """How many of `steps` are spent rising."""
        return self.warmup_steps or round(self.warmup_fraction * steps)

    def fits(self, steps: int, key: str = "schedule") -> None:
        """Raises UserError, naming the field below `key`, when the warmup leaves no step of `steps` after it."""
        if self.warmup(steps) >= steps:
            field = "warmup_steps" if self.warmup_steps else "warmup_fraction"
            raise UserError(
                f"{key}.{field}: {getattr(self, field)} makes {self.warmup(steps)} warmup steps, "
                f"which must be fewer than the {steps} steps of this training"
            )

    def after_reports(self, values: Sequence[float], minimize: bool) -> float:
        """What the rest of the table is multiplied by after these values of the followed metric, in their order."""
        raise NotImplementedError


def only_one_warmup(raw: Any) -> Any:
    """For entries whose `warmup_fraction` is not 0 by default: `warmup_steps` alone replaces it."""
    if isinstance(raw, dict) and raw.get("warmup_steps"):
        return {"warmup_fraction": 0.0, **raw}
    return raw


schedules: Registry[Schedule] = Registry("schedule", "hpo.training.schedules")
