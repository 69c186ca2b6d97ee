"""The regularizer `early_stopping`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from hpo.errors import unknown
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import Report, Slots


@regularizers("early_stopping")
class EarlyStopping(Regularizer):
    """Ends a training whose metric has not improved for `patience` epochs (Prechelt 1998); its trial is COMPLETE.

    The last epoch's value is then its result, or the best one's where the sweep's objective is `at: best`.
    """

    reports: ClassVar[bool] = True
    main: ClassVar[str] = "patience"
    patience: int = Field(0, ge=0, description="epochs without an improvement after which training ends; 0 is off")
    min_delta: float = Field(0.0, ge=0, description="an improvement is a change by more than this")
    metric: str = Field("val_loss", description="what is watched, as it is reported; often the objective")
    mode: Literal["min", "max"] = Field("min", description="whether less or more of it is better")

    def fill(self, slots: Slots) -> Slots:
        return replace(slots, report=_Watch(self, slots.report))


class _Watch:
    """Reports, and says when patience has come to an end."""

    def __init__(self, rule: EarlyStopping, before: Report) -> None:
        self.rule, self.before = rule, before
        self.best, self.at = math.inf, 0

    def __call__(self, step: int, metrics: Mapping[str, float]) -> bool:
        rule = self.rule
        if rule.metric not in metrics:
            raise unknown("regularization.early_stopping.metric", "metric of this training", rule.metric, metrics)
        value = metrics[rule.metric] if rule.mode == "min" else -metrics[rule.metric]
        if value < self.best - rule.min_delta:
            self.best, self.at = value, step
        # the report comes first: whatever else ends this training has the first word
        return self.before(step, metrics) and step - self.at < rule.patience
