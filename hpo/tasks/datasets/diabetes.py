"""The task `diabetes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from hpo.tasks.bundled import table
from hpo.tasks.registries import TaskEntry, tasks
from hpo.tasks.splits import shared_out, standardized
from hpo.tasks.task import Task


@tasks("diabetes")
class Diabetes(TaskEntry):
    """How far diabetes has gone a year after ten measurements of 442 patients (Efron et al. 2004): a regression by R2.

    266 train, 88 validate, 88 test. Measurements and target are standardized on those that train: 1 in mae and rmse is
    one standard deviation of their targets, about 77.
    """

    split_seed: int = Field(0, ge=0, description="which patients train, validate and test; no trial's seed changes it")

    def examples(self) -> int:
        return 266

    def starts(self) -> Mapping[str, Any]:
        return {"loss": "mse"}

    def make(self) -> Task:
        x_NF, y_N = table("diabetes_data_raw.csv.gz"), table("diabetes_target.csv.gz")
        parts = shared_out(y_N, self.split_seed, val=0.2, test=0.2)
        x, x_val, x_test = standardized(*(x_NF[part] for part in parts))
        y, y_val, y_test = standardized(*(y_N[part] for part in parts))
        return Task((x, y), (x_val, y_val), (x_test, y_test), metrics=("r2", "rmse", "mae"), **self.starts())
