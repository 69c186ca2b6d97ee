"""The schedule `wsd`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from hpo.errors import UserError
from hpo.training.schedules import Array, Schedule, Span, schedules


@schedules("wsd")
class WarmupStableDecay(Schedule):
    """Warmup, then the full rate, then a fall to `floor` in the last steps (Hu et al. 2024, arXiv:2404.06395).

    1-sqrt falls steeply first and is the best of its kind in Hägele et al. 2024 (arXiv:2405.18392).
    """

    decay_fraction: float = Field(0.2, ge=0, le=1, description="share of the steps after the warmup spent falling")
    decay_steps: int = Field(0, ge=0, description="optimizer steps spent falling; instead of decay_fraction")
    decay: Literal["linear", "cosine", "1-sqrt"] = Field("linear", description="the curve of the fall")
    floor: float = Field(0.0, ge=0, le=1, description="lowest factor, approached at the last step")

    @model_validator(mode="before")
    @classmethod
    def _only_one_decay(cls, raw: Any) -> Any:
        return {"decay_fraction": 0.0, **raw} if isinstance(raw, dict) and raw.get("decay_steps") else raw

    @field_validator("decay_steps")
    @classmethod
    def _one_decay(cls, steps: int, info: ValidationInfo) -> int:
        if steps and info.data.get("decay_fraction"):
            raise ValueError(f"{steps} beside decay_fraction {info.data['decay_fraction']}; set one of the two")
        return steps

    def fits(self, steps: int, key: str = "schedule") -> None:
        super().fits(steps, key)
        rest = steps - self.warmup(steps)
        if self.decay_steps > rest:
            raise UserError(f"{key}.decay_steps: {self.decay_steps} is more than the {rest} steps after the warmup")

    def after_warmup(self, step_T: Array, span: Span) -> Array:
        falling = self.decay_steps or round(self.decay_fraction * span.steps)
        progress_T = np.clip((step_T - (span.steps - falling)) / max(falling, 1), 0, 1)
        left_T = {
            "linear": 1 - progress_T,
            "cosine": 0.5 * (1 + np.cos(np.pi * progress_T)),
            "1-sqrt": 1 - np.sqrt(progress_T),
        }[self.decay]
        return 1 - (1 - self.floor) * (1 - left_T)
