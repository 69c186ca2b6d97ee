"""The percentile rule from the curves of COMPLETE trials, kept in order step by step."""

from __future__ import annotations

import math

from optuna.pruners import PercentilePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from hpo.search.feed import Feed
from hpo.search.pruning.ordered import Ordered, percentile
from hpo.search.pruning.told import Told, worse


class _AtStep:
    """What COMPLETE trials reported at one step. seen: how many of them were looked at."""

    def __init__(self) -> None:
        self.seen = 0
        self.nans = 0
        self.numbers: Ordered[float] = Ordered()

    def look(self, trials: list[FrozenTrial], step: int) -> None:
        for trial in trials[self.seen :]:
            value = trial.intermediate_values.get(step)
            if value is not None and math.isnan(value):
                self.nans += 1
            elif value is not None:
                self.numbers.add(value)
        self.seen = len(trials)


class _Curves:
    """The COMPLETE trials of a study; a step's values are put in order when that step is first asked for."""

    def __init__(self, study: Study) -> None:
        self.feed = Feed(study)
        self.trials: list[FrozenTrial] = []
        self._places: dict[int, int] = {}
        self._steps: dict[int, _AtStep] = {}

    def refresh(self) -> None:
        for trial in self.feed.news():
            place = self._places.get(trial.number)
            if place is not None:
                self._look_again(place, trial)
            elif trial.state == TrialState.COMPLETE:
                self._places[trial.number] = len(self.trials)
                self.trials.append(trial)

    def _look_again(self, place: int, trial: FrozenTrial) -> None:
        """A trial that was counted comes again: the same, read from the database, or ended otherwise by others before.

        The latter is rare, and costs as much as a start.
        """
        known = self.trials[place]
        if (known.state, known.intermediate_values) == (trial.state, trial.intermediate_values):
            return
        self._steps.clear()
        self.trials[place] = trial
        if trial.state != TrialState.COMPLETE:
            del self.trials[place]
            self._places = {one.number: n for n, one in enumerate(self.trials)}

    def at(self, step: int) -> _AtStep:
        found = self._steps.setdefault(step, _AtStep())
        found.look(self.trials, step)
        return found


class IndexedPercentile(Told, PercentilePruner):
    """Decides as Optuna's PercentilePruner. A decision costs the trial's own curve and what changed since the last."""

    _curves: _Curves | None = None

    @override
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop `trial` at its last report; `why` has the reason."""
        step = trial.last_step
        if step is None or not due(trial, self._n_warmup_steps, self._interval_steps):
            return False
        if self._curves is None or not self._curves.feed.is_of(study):
            self._curves = _Curves(study)
        self._curves.refresh()
        if len(self._curves.trials) < max(self._n_startup_trials, 1):
            return False
        maximize = study.direction == StudyDirection.MAXIMIZE
        reported = [value for value in trial.intermediate_values.values() if not math.isnan(value)]
        if not reported:
            return self.stop(trial, "NaN so far")
        best = max(reported) if maximize else min(reported)
        others = self._curves.at(step)
        values = others.numbers.values
        if not values or len(values) + others.nans < self._n_min_trials:
            return False
        mark = percentile(values, 100 - self._percentile if maximize else self._percentile)
        if not (best < mark if maximize else best > mark):
            return False
        return self.stop(trial, f"{best:.6g} {worse(maximize)} {self._share()} {mark:.6g} of {len(values)}")

    def _share(self) -> str:
        return "the median" if self._percentile == 50 else f"the best {self._percentile:g} %'s"


def due(trial: FrozenTrial, warmup: int, interval: int) -> bool:
    """Whether the last report is the first in its interval of steps, counted from the warmup."""
    step = trial.last_step
    if step is None or step < warmup:
        return False
    before = max((one for one in trial.intermediate_values if one != step), default=-1)
    return before < (step - warmup) // interval * interval + warmup
