"""The task `digits`."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from hpo.tasks.bundled import table
from hpo.tasks.registries import TaskEntry, tasks
from hpo.tasks.task import Task


@tasks("digits")
class Digits(TaskEntry):
    """1,797 real handwritten digits of 8x8 pixels (scikit-learn's copy of UCI optdigits), ten classes.

    Pixels 0 to 16 are scaled to 0 to 1; 1,078 images train, 360 validate, 359 test.
    """

    split_seed: int = Field(0, ge=0, description="which images train, validate and test; no trial's seed changes it")

    def examples(self) -> int:
        return 1078

    def make(self) -> Task:
        pixels_NP, classes_N = load_digits()
        order_N = np.random.default_rng(self.split_seed).permutation(len(classes_N))
        x_N1HW = (pixels_NP / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)[order_N]
        y_N = classes_N[order_N]
        a, b = round(0.6 * len(y_N)), round(0.8 * len(y_N))
        return Task(
            train=(x_N1HW[:a], y_N[:a]),
            val=(x_N1HW[a:b], y_N[a:b]),
            test=(x_N1HW[b:], y_N[b:]),
            metrics=("accuracy", "recall", "f1"),
        )


def load_digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Pixels (1797, 64) as float64 and classes (1797,) as int64, as `sklearn.datasets.load_digits` gives them."""
    table_NC = table("digits.csv.gz", delimiter=",")
    return table_NC[:, :-1], table_NC[:, -1].astype(np.int64)
