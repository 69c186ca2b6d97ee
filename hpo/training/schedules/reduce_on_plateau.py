"""The schedule `reduce_on_plateau`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from hpo.training.schedules import Array, Schedule, schedules


@schedules("reduce_on_plateau")
class ReduceOnPlateau(Schedule):
    """The full rate, until a metric has not improved for some evaluations; then less, as torch's ReduceLROnPlateau."""

    reactive: ClassVar[bool] = True

    metric: str = Field("val_loss", description="reported metric that is followed; its direction says what is better")
    gamma: float = Field(0.1, gt=0, lt=1, description="factor of each drop")
    patience: int = Field(10, ge=0, description="evaluations in a row without improvement that are let pass")
    threshold: float = Field(1e-4, ge=0, description="how much better than the best an improvement must be")
    threshold_mode: Literal["rel", "abs"] = Field("rel", description="a share of the best value, or its own unit")
    cooldown: int = Field(0, ge=0, description="evaluations after a drop that are not counted")
    floor: float = Field(0.0, ge=0, le=1, description="lowest factor")

    def factor(self, progress_T: Array) -> Array:
        return np.ones_like(progress_T)

    def after_reports(self, values: Sequence[float], minimize: bool) -> float:
        best, factor, bad, cooling = None, 1.0, 0, 0
        for value in values:
            if best is None or self._better(value, best, minimize):
                best, bad = value, 0
            else:
                bad += 1
            if cooling:
                cooling, bad = cooling - 1, 0
            if bad > self.patience:
                factor, cooling, bad = max(factor * self.gamma, self.floor), self.cooldown, 0
        return factor

    def _better(self, value: float, best: float, minimize: bool) -> bool:
        margin = self.threshold * (best if self.threshold_mode == "rel" else 1.0)
        return value < best - margin if minimize else value > best + margin
