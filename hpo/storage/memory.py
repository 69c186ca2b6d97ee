"""One study in memory: what every read is answered from.

Trials are never changed in place: a change puts a new FrozenTrial in the old one's stead, so that whoever holds the old
one keeps what was read.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Container, Iterable
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState


def evolve(trial: FrozenTrial) -> FrozenTrial:
    """A copy that shares its parts; six times as quick as copy.copy, and there is one for every report."""
    new = FrozenTrial.__new__(FrozenTrial)
    new.__dict__.update(trial.__dict__)
    return new


class StudyMemory:
    """A study and its trials in order of id. Not thread safe: the storage's lock guards it.

    exact: whether the database's tables keep keys to the letter and moments to the microsecond.
    """

    def __init__(self, study: FrozenStudy, trials: Iterable[FrozenTrial], exact: bool = True) -> None:
        self.id: int = study._study_id
        self.name: str = study.study_name
        self.directions: list[StudyDirection] = study.directions
        self.user_attrs: dict[str, Any] = study.user_attrs
        self.system_attrs: dict[str, Any] = study.system_attrs
        self.own_id: int | None = None
        """Its id in `hpo_studies`, once that is known."""
        self.trials: list[FrozenTrial] = []
        self.open: set[int] = set()
        """Ids of trials that are not finished."""
        self.ours: set[int] = set()
        """Ids of trials that this process changed: others may write attributes of them, not curves."""
        self.touched: list[int] = []
        """Ids of trials as they came, changed state or got an attribute, each time."""
        self.exact = exact
        self._waiting: set[int] = set()
        self._index: dict[int, int] = {}
        self._distributions: dict[str, BaseDistribution] = {}
        self._best: FrozenTrial | None = None
        for trial in trials:
            self.put(trial)

    @property
    def last_id(self) -> int:
        """The greatest id of its trials, -1 without any."""
        return self.trials[-1]._trial_id if self.trials else -1

    def trial(self, trial_id: int) -> FrozenTrial:
        """Raises KeyError for a trial of another study."""
        return self.trials[self._index[trial_id]]

    def trial_ids(self) -> Iterable[int]:
        """Ids of all trials of the study, in order."""
        return self._index.keys()

    def put(self, trial: FrozenTrial) -> None:
        """Add a trial, whose id is greater than all others', or replace the one of the same id."""
        trial_id = trial._trial_id
        if trial_id in self._index:
            self.trials[self._index[trial_id]] = trial
        else:
            self._index[trial_id] = len(self.trials)
            self.trials.append(trial)
        self.touched.append(trial_id)
        self._distributions.update(trial.distributions)
        self._file(trial)

    def _file(self, trial: FrozenTrial) -> None:
        """Note where a trial stands: waiting, open, best."""
        (self._waiting.add if trial.state == TrialState.WAITING else self._waiting.discard)(trial._trial_id)
        (self.open.discard if trial.state.is_finished() else self.open.add)(trial._trial_id)
        if trial.state == TrialState.COMPLETE and len(self.directions) == 1 and trial.values:
            sign = -1.0 if self.directions[0] == StudyDirection.MAXIMIZE else 1.0
            if self._best is None or sign * trial.values[0] < sign * self._best.values[0]:
                self._best = trial

    def changes(self, since: int) -> tuple[list[FrozenTrial], int]:
        """The trials touched after the first `since` entries of `touched`, each once, and how long that is now."""
        ids = dict.fromkeys(self.touched[since:])
        return [self.trial(trial_id) for trial_id in ids], len(self.touched)

    def changeable(self, trial_id: int) -> FrozenTrial:
        """A copy of the trial to be changed and then `put`. Raises UpdateFinishedTrialError."""
        trial = self.trial(trial_id)
        if trial.state.is_finished():
            raise UpdateFinishedTrialError(f"Trial#{trial.number} has already finished and can not be updated.")
        return evolve(trial)

    def check_distribution(self, name: str, distribution: BaseDistribution) -> None:
        """Raises ValueError when earlier trials had another kind of distribution under this name."""
        known = self._distributions.get(name)
        if known is not None and known is not distribution:
            check_distribution_compatibility(known, distribution)

    def check_key(self, key: str, known: Collection[str]) -> None:
        """Raises ValueError for a key that the database would mix up with one of `known`, or could not hold."""
        if self.exact or key in known:
            return
        alike = next((other for other in known if other.rstrip().lower() == key.rstrip().lower()), None)
        if alike is not None or not key.isascii():
            fault = "be kept for its letters beyond ASCII" if alike is None else f"be told from {alike!r}"
            raise ValueError(
                f"the key {key!r} cannot {fault} in tables that hpo did not make; "
                "use another name, or a database without tables"
            )

    def moment(self, moment: datetime) -> datetime:
        """A moment as it will be read back."""
        return moment if self.exact else moment.replace(microsecond=0)

    def set_param(self, trial: FrozenTrial, name: str, internal: float, distribution: BaseDistribution) -> None:
        """Give the copy `trial` a parameter and put it."""
        trial.params = {**trial.params, name: distribution.to_external_repr(internal)}
        trial.distributions = {**trial.distributions, name: distribution}
        self.trials[self._index[trial._trial_id]] = trial
        self._distributions[name] = distribution

    def report(self, trial: FrozenTrial, step: int, value: float) -> None:
        """Give the copy `trial` an intermediate value and put it."""
        trial.intermediate_values = {**trial.intermediate_values, step: value}
        self.trials[self._index[trial._trial_id]] = trial

    def set_state(self, trial: FrozenTrial, state: TrialState, values: list[float] | None, now: datetime) -> None:
        """Give the copy `trial` a state, and values if there are any, and put it. now: naive local time."""
        trial.state = state
        if values is not None:
            trial.values = values
        if state == TrialState.RUNNING:
            trial.datetime_start = now
        elif state.is_finished():
            trial.datetime_complete = now
        self.put(trial)

    def select(self, states: Container[TrialState] | None) -> list[FrozenTrial]:
        """A new list of the trials in these states, in order of id."""
        if states is None:
            return self.trials.copy()
        if states == (TrialState.WAITING,):  # asked for before every new trial
            return [self.trial(trial_id) for trial_id in sorted(self._waiting)]
        return [trial for trial in self.trials if trial.state in states]

    def best(self) -> FrozenTrial:
        """Raises ValueError without a completed trial, RuntimeError with several objectives."""
        if len(self.directions) > 1:
            raise RuntimeError("Best trial can be obtained only for single-objective optimization.")
        if self._best is None:
            raise ValueError("No trials are completed yet.")
        return self.trial(self._best._trial_id)

    def by_number(self, number: int) -> FrozenTrial:
        """Raises KeyError. Numbers are places in the list, but where somebody deleted rows by hand."""
        if 0 <= number < len(self.trials) and self.trials[number].number == number:
            return self.trials[number]
        for trial in self.trials:
            if trial.number == number:
                return trial
        raise KeyError(f"No trial with trial number {number} exists in study with study_id {self.id}.")

    def frozen(self) -> FrozenStudy:
        """A deep copy without the trials."""
        user, system = copy.deepcopy(self.user_attrs), copy.deepcopy(self.system_attrs)
        return FrozenStudy(self.name, None, user, system, self.id, directions=list(self.directions))
