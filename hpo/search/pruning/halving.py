"""Asynchronous successive halving from an index of rungs."""

from __future__ import annotations

import math

from optuna.pruners import SuccessiveHalvingPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial
from typing_extensions import override

from hpo.search.pruning import resource
from hpo.search.pruning.rungs import Rungs, rung_key
from hpo.search.pruning.told import Told, worse

_WORDS = {2: "half", 3: "third", 4: "quarter", 5: "fifth"}


class IndexedHalving(Told, SuccessiveHalvingPruner):
    """Decides as Optuna's SuccessiveHalvingPruner and keeps the same attributes of trials.

    Where `min_resource` is auto, it is taken from the trials that are COMPLETE at the first decision, as Optuna does,
    and kept with the study, so that a restart has the same rungs.
    """

    _rungs: Rungs | None = None

    @override
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop `trial` at its last report; `why` has the reason."""
        if trial.last_step is None:
            return False
        if self._min_resource is None:
            self._min_resource = resource.settled(study, _first_rung)
            if self._min_resource is None:
                return False
        if self._rungs is None or not self._rungs.feed.is_of(study):
            self._rungs = Rungs(study, lambda _: 0)
        sentence = self.compete(study, trial, self._rungs)
        return sentence is not None and self.stop(trial, sentence)

    def compete(self, study: Study, trial: FrozenTrial, rungs: Rungs) -> str | None:
        """Why `trial` has to stop at a rung it has come to, None when it may go on; notes the rungs it has come to."""
        step, held, rung = trial.last_step, trial.system_attrs, 0
        assert step is not None
        assert self._min_resource is not None
        while rung_key(rung) in held:
            rung += 1
        value = trial.intermediate_values[step]
        fresh = False
        while step >= self._min_resource * self._reduction_factor ** (self._min_early_stopping_rate + rung):
            if math.isnan(value):
                return "NaN"
            if not fresh:
                rungs.refresh()
                fresh = True
            study._storage.set_trial_system_attr(trial._trial_id, rung_key(rung), value)
            sentence = self._judge(study, value, rungs.reached(trial, rung, value))
            if sentence is not None:
                return sentence
            rung += 1
        return None

    def _judge(self, study: Study, value: float, there: list[float]) -> str | None:
        """there: the values of all that came to the rung, in ascending order, this one's included."""
        if len(there) <= self._bootstrap_count:
            return f"one of the first {self._bootstrap_count} at this rung, which all stop"
        maximize = study.direction == StudyDirection.MAXIMIZE
        # fewer than the factor: the best one alone goes on
        place = max(len(there) // self._reduction_factor - 1, 0)
        mark = there[-place - 1] if maximize else there[place]
        if value >= mark if maximize else value <= mark:
            return None
        share = _WORDS.get(self._reduction_factor, f"{self._reduction_factor}th")
        return f"{value:.6g} {worse(maximize)} the best {share}'s {mark:.6g} of {len(there)}"


def _first_rung(longest: int) -> int:
    return max(longest // 100, 1)
