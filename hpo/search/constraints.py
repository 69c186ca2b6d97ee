"""Constraints on what a trial reported: `epsilon <= 8`. How they are written, judged, and kept as Optuna's own.

Optuna keeps numbers with a trial, of which one above 0 says that a constraint is broken, and by how much. They go into
its first form, a list under one key, since that is what the stock dashboard reads; Optuna reads both.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

KEY = "constraints"
"""Optuna's name of them among a trial's system attributes."""

_FORM = re.compile(r"\s*([^<>=\s][^<>=]*?)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", re.ASCII)
_EXAMPLE = "a metric, one of <=, >=, <, > and a number, as in  epsilon <= 8"


@dataclass(frozen=True)
class Constraint:
    """A reported metric and a bound of it; `sign` is one of <=, >=, <, >."""

    metric: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Raises ValueError, with what is allowed, for any other text."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not understood; write {_EXAMPLE}")
        metric, sign, bound = found.groups()
        if not math.isfinite(float(bound)):
            raise ValueError(f"{text!r} has no finite bound")
        return cls(metric, sign, float(bound))

    def __str__(self) -> str:
        """The one way it is written; `parse` of it is the constraint."""
        whole = self.bound.is_integer() and abs(self.bound) < 1e15
        return f"{self.metric} {self.sign} {int(self.bound) if whole else repr(self.bound)}"

    def violation(self, value: float) -> float:
        """By how much a finite value breaks it: above 0 exactly where it does, and finite."""
        over = value - self.bound if self.sign.startswith("<") else self.bound - value
        if over == 0 and not self.sign.endswith("="):
            return sys.float_info.min
        return min(max(over, -sys.float_info.max), sys.float_info.max)


class Constraints(tuple[Constraint, ...]):
    """Those of a study, in their order; none is broken where there are none."""

    __slots__ = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Constraints:
        """Raises ValueError for one that cannot be read."""
        return cls(map(Constraint.parse, texts))

    def unjudged(self, metrics: Mapping[str, float]) -> str | None:
        """Why they cannot be judged by the last values of a trial's metrics; None where they can."""
        for one in self:
            if one.metric not in metrics:
                said = ", ".join(sorted(metrics)) or "nothing"
                return f"the constraint {str(one)!r} cannot be judged: {one.metric} was not reported (reported: {said})"
            if not math.isfinite(metrics[one.metric]):
                return f"the constraint {str(one)!r} cannot be judged: {one.metric} is {metrics[one.metric]}"
        return None

    def violations(self, metrics: Mapping[str, float]) -> list[float]:
        """What Optuna keeps of a trial with these last values; empty where they cannot be judged."""
        return [] if self.unjudged(metrics) else [one.violation(metrics[one.metric]) for one in self]

    def met_by(self, metrics: Mapping[str, float]) -> bool:
        """Whether these values break none."""
        return all(over <= 0 for over in self.violations(metrics))


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial breaks no constraint of its study, as Optuna has it: one that was not judged breaks none."""
    return all(over <= 0 for over in trial.constraints.values())
