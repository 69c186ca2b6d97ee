"""The task `modular_addition`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from hpo.tasks.registries import TaskEntry, tasks
from hpo.tasks.task import Task


@tasks("modular_addition")
class ModularAddition(TaskEntry):
    """(a + b) mod p from the words `a b =`, by a small transformer (Power et al. 2022, arXiv:2201.02177)."""

    p: int = Field(97, ge=2, description="the modulus; there are p² sums, and p classes")
    train_fraction: float = Field(0.5, gt=0, lt=1, description="share of all sums that train")
    split_seed: int = Field(0, ge=0, description="which sums train, validate and test; no trial's seed changes it")

    def starts(self) -> Mapping[str, Any]:
        return {"model": {"name": "transformer", "width": 128, "depth": 1}}

    def examples(self) -> int:
        return min(max(1, round(self.train_fraction * self.p**2)), self.p**2 - 2)

    def make(self) -> Task:
        a_N, b_N = np.divmod(np.random.default_rng(self.split_seed).permutation(self.p**2), self.p)
        x_N3 = np.stack([a_N, b_N, np.full_like(a_N, self.p)], 1)
        y_N = (a_N + b_N) % self.p
        train = self.examples()
        val = train + (len(y_N) - train) // 2
        return Task(
            train=(x_N3[:train], y_N[:train]),
            val=(x_N3[train:val], y_N[train:val]),
            test=(x_N3[val:], y_N[val:]),
            **self.starts(),
        )
