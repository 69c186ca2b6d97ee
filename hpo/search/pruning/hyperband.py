"""Hyperband: a trial's bracket hangs on the study's name and its number, and each bracket halves by itself."""

from __future__ import annotations

from collections.abc import Container

from optuna.pruners import HyperbandPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from hpo.search.pruning import resource
from hpo.search.pruning.halving import IndexedHalving
from hpo.search.pruning.rungs import Rungs
from hpo.search.pruning.told import Told


class IndexedHyperband(Told, HyperbandPruner):
    """Decides as Optuna's HyperbandPruner; where `max_resource` is auto, what it was taken for is kept with the study.

    The brackets are there as soon as the resource is known, not only after the first decision of this process, so that
    what a sampler sees of the study is the same after a restart.
    """

    _rungs: Rungs | None = None
    _halving: tuple[IndexedHalving, ...] = ()

    @override
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop `trial` at its last report; `why` has the reason."""
        if self._max_resource == "auto":
            self._max_resource = resource.settled(study, lambda longest: longest + 1) or "auto"
        if trial.last_step is None or not self._ready(study):
            return False
        if self._rungs is None or not self._rungs.feed.is_of(study):
            self._rungs = Rungs(study, lambda one: self._get_bracket_id(study, one))
        bracket = self._get_bracket_id(study, trial)
        sentence = self._halving[bracket].compete(study, trial, self._rungs)
        return sentence is not None and self.stop(trial, f"{sentence} in bracket {bracket}")

    def _ready(self, study: Study) -> bool:
        """Whether there are brackets; they are made when the resource is known."""
        if not self._halving:
            if self._max_resource == "auto":
                self._max_resource = resource.kept(study) or "auto"
            if self._max_resource != "auto":
                self._try_initialization(study)
                self._halving = tuple(
                    IndexedHalving(self._min_resource, self._reduction_factor, bracket, self._bootstrap_count)
                    for bracket in range(len(self._pruners))
                )
        return bool(self._halving)

    @override
    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        self._ready(study)
        return super()._get_bracket_id(study, trial)

    @override
    def _create_bracket_study(self, study: Study, bracket_id: int) -> Study:
        """Optuna makes a class and a study for each look, several a trial; this is a view."""
        return _Bracket(study, self, bracket_id)


class _Bracket(Study):
    """A study of which `get_trials` shows one bracket; everything else is the study's own."""

    def __init__(self, study: Study, pruner: IndexedHyperband, bracket: int) -> None:
        self.__dict__.update(study.__dict__)
        self._whole = study
        self._brackets = pruner
        self._bracket = bracket

    @override
    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Those of this bracket."""
        trials = self._whole.get_trials(deepcopy, states)
        return [one for one in trials if self._brackets._get_bracket_id(self._whole, one) == self._bracket]

    @override
    def stop(self) -> None:
        """End the study's own loop."""
        self._whole.stop()
