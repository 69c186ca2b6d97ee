"""The rungs of a study: which value each trial had when it reached one, in order, by bracket.

Optuna's successive halving keeps these values as system attributes of the trials, and so do we: a bare Optuna goes on
with the study, and a restart finds them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.search.feed import Feed
from hpo.search.pruning.ordered import Ordered

_PREFIX = "completed_rung_"


def rung_key(rung: int) -> str:
    """Optuna's name of the attribute."""
    return f"{_PREFIX}{rung}"


class Rungs:
    """bracket_of: the bracket of a trial; trials compete within one."""

    def __init__(self, study: Study, bracket_of: Callable[[FrozenTrial], int]) -> None:
        self.feed = Feed(study)
        self._bracket_of = bracket_of
        self._values: defaultdict[tuple[int, str], Ordered[float]] = defaultdict(Ordered)
        self._held: dict[int, dict[str, float]] = {}

    def refresh(self) -> None:
        """See what changed in the study."""
        for trial in self.feed.news():
            self._hold(trial, {k: v for k, v in trial.system_attrs.items() if k.startswith(_PREFIX)})

    def reached(self, trial: FrozenTrial, rung: int, value: float) -> list[float]:
        """Note that `trial` came to `rung` with `value`; all values there, this one included, in ascending order."""
        key = rung_key(rung)
        self._hold(trial, {**self._held.get(trial.number, {}), key: value})
        return self._values[self._bracket_of(trial), key].values

    def _hold(self, trial: FrozenTrial, now: dict[str, float]) -> None:
        before = self._held.get(trial.number, {})
        if now == before:
            return
        bracket = self._bracket_of(trial)
        for key in before.keys() | now.keys():
            if before.get(key) == now.get(key):
                continue
            if key in before:
                self._values[bracket, key].remove(before[key])
            if key in now:
                self._values[bracket, key].add(now[key])
        self._held[trial.number] = now
