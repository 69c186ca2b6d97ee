"""The schedule `inverse_cycle`."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from hpo.training.schedules import Array, Schedule, Span, schedules


@schedules("inverse_cycle")
class InverseCycle(Schedule):
    """Down to `floor` and back to 1: for the momentum beside `one_cycle` (Smith & Topin 2018, arXiv:1708.07120).

    With `optimizer.momentum: 0.95` and `schedules: {optimizer.momentum: {name: inverse_cycle}}` the momentum is that of
    torch's OneCycleLR with its defaults. The last step has 1 again, as there.
    """

    floor: float = Field(0.85 / 0.95, ge=0, le=1, description="lowest factor, where one_cycle has its highest rate")
    turn: float = Field(0.3, gt=0, lt=1, description="share of the steps that go down; warmup_fraction of one_cycle")
    curve: Literal["cosine", "linear"] = Field("cosine", description="half cosines or straight lines")

    def after_warmup(self, step_T: Array, span: Span) -> Array:
        turn = max(self.turn * span.steps - 1, 0)
        down_T = np.clip(step_T / turn, 0, 1) if turn else np.zeros_like(step_T)
        back_T = np.clip((step_T - turn) / max(span.steps - 1 - turn, 1e-12), 0, 1)
        depth_T = np.where(step_T <= turn, down_T, 1 - back_T)
        if self.curve == "cosine":
            depth_T = 0.5 * (1 - np.cos(np.pi * depth_T))
        return 1 - (1 - self.floor) * depth_T
