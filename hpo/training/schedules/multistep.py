"""The schedule `multistep`."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from hpo.errors import UserError
from hpo.training.schedules import Array, Schedule, Span, schedules


@schedules("multistep")
class MultiStep(Schedule):
    """Drops by the factor `gamma` at moments of one's own (He et al. 2016, arXiv:1512.03385)."""

    milestones: Annotated[tuple[float, ...], Field(strict=False)] = Field(
        (0.5, 0.75), description="moments of the drops as shares of the steps after the warmup, growing"
    )
    milestone_steps: Annotated[tuple[int, ...], Field(strict=False)] = Field(
        (), description="the same in optimizer steps after the warmup; instead of milestones"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="factor of each drop")

    @field_validator("milestones", "milestone_steps")
    @classmethod
    def _growing(cls, moments: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in pairwise(moments)):
            raise ValueError(f"should grow, found {list(moments)}")
        high = 1 if info.field_name == "milestones" else float("inf")
        if any(not 0 < moment < high for moment in moments):
            allowed = "between 0 and 1" if high == 1 else "above 0"
            raise ValueError(f"each should be {allowed}, found {list(moments)}")
        return moments

    def fits(self, steps: int, key: str = "schedule") -> None:
        super().fits(steps, key)
        rest = steps - self.warmup(steps)
        late = [moment for moment in self.milestone_steps if moment >= rest]
        if late:
            raise UserError(f"{key}.milestone_steps: {late[0]} lies outside the {rest} steps after the warmup")

    def after_warmup(self, step_T: Array, span: Span) -> Array:
        # a share means the first whole step at or after it; less a rounding error, as 0.7 * 10 is 7.000000000000001
        moments = self.milestone_steps or [np.ceil(share * span.steps - 1e-9) for share in self.milestones]
        return self.gamma ** np.searchsorted(np.array(moments, dtype=np.float64), step_T, side="right").astype(float)
