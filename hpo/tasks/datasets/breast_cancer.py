"""The task `breast_cancer`."""

from __future__ import annotations

from pydantic import Field

from hpo.tasks.bundled import table
from hpo.tasks.registries import TaskEntry, tasks
from hpo.tasks.splits import shared_out, standardized
from hpo.tasks.task import Task


@tasks("breast_cancer")
class BreastCancer(TaskEntry):
    """569 tumours by 30 measurements of their cell nuclei (UCI, Wisconsin): malignant (0) or benign (1), by ROC AUC.

    343 train, 113 validate, 113 test, in each the same share of both; measurements are standardized on those that
    train.
    """

    split_seed: int = Field(0, ge=0, description="which tumours train, validate and test; no trial's seed changes it")

    def examples(self) -> int:
        return 343

    def make(self) -> Task:
        table_NC = table("breast_cancer.csv", delimiter=",", skiprows=1)
        x_NF, y_N = table_NC[:, :-1], table_NC[:, -1].astype("int64")
        parts = shared_out(y_N, self.split_seed, val=0.2, test=0.2)
        x, x_val, x_test = standardized(*(x_NF[part] for part in parts))
        y, y_val, y_test = (y_N[part] for part in parts)
        return Task((x, y), (x_val, y_val), (x_test, y_test), metrics=("roc_auc", "accuracy", "f1"))
