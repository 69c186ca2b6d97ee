"""A trial that needs no study."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any


class Dice:
    """A trial that draws at random and remembers the order in which it was asked."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.asked: list[str] = []

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked.append(name)
        if step is not None:
            return min(high, low + step * self.rng.randint(0, round((high - low) / step)))
        drawn = math.exp(self.rng.uniform(math.log(low), math.log(high))) if log else self.rng.uniform(low, high)
        return min(high, max(low, drawn))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.asked.append(name)
        return self.rng.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked.append(name)
        return self.rng.choice(choices)
