"""Pruners that look at nothing but the trial and the best one: Optuna's own, with reasons."""

from __future__ import annotations

import math

from optuna.pruners import PatientPruner, ThresholdPruner, WilcoxonPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial
from typing_extensions import override

from hpo.search.pruning.told import Explains, Told


class ExplainedThreshold(Told, ThresholdPruner):
    """Optuna's ThresholdPruner."""

    @override
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop `trial` at its last report; `why` has the reason."""
        if not super().prune(study, trial):
            return False
        assert trial.last_step is not None
        value = trial.intermediate_values[trial.last_step]
        if math.isnan(value):
            return self.stop(trial, "NaN")
        below = value < self._lower
        bound = f"below lower {self._lower:.6g}" if below else f"above upper {self._upper:.6g}"
        return self.stop(trial, f"{value:.6g} {bound}")


class ExplainedPatience(Told, PatientPruner):
    """Optuna's PatientPruner, which asks the pruner it wraps."""

    @override
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop `trial` at its last report; `why` has the reason."""
        if not super().prune(study, trial):
            return False
        inner = self._wrapped_pruner.why(trial) if isinstance(self._wrapped_pruner, Explains) else None
        steps = sorted(trial.intermediate_values)[: -self._patience - 1]
        before = [trial.intermediate_values[one] for one in steps if not math.isnan(trial.intermediate_values[one])]
        best = (max if study.direction == StudyDirection.MAXIMIZE else min)(before)
        last = f"last {self._patience + 1} reports" if self._patience else "last report"
        said = f"nothing better than {best:.6g} in the {last}"
        return self.stop(trial, f"{inner}; {said}" if inner is not None else said)


class ExplainedWilcoxon(Told, WilcoxonPruner):
    """Optuna's WilcoxonPruner."""

    @override
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop `trial` after its last report; `why` has the reason."""
        if not super().prune(study, trial):
            return False
        best = study._storage.get_best_trial(study._study_id)
        shared = len(best.intermediate_values.keys() & trial.intermediate_values.keys())
        return self.stop(
            trial, f"worse than trial {best.number} on the same {shared} instances (p below {self._p_threshold:g})"
        )
