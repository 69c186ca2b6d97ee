"""Whose last checkpoints are kept after the end: those of the best COMPLETE trials, and of the last that ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from optuna.trial import FrozenTrial, TrialState

from hpo.search import attributes
from hpo.search.constraints import feasible
from hpo.search.plan import Objective


class Keeping:
    """The trials of a study whose checkpoints are kept, from the study's trials alone and in any order of hearing.

    keep: how many of the best, those that meet the constraints first, by the first objective and, among equals, by
    number; 0 keeps none, the last included.
    Nothing here deletes: `drop` collects what has lost its use until whoever may delete takes it.
    """

    def __init__(self, keep: int, objective: Objective) -> None:
        self._keep, self._objective = keep, objective
        self._best: list[FrozenTrial] = []
        self._last: FrozenTrial | None = None
        self._heard: set[int] = set()
        self._drop: dict[int, None] = {}

    @property
    def kept(self) -> frozenset[int]:
        """Numbers of the trials whose checkpoints are kept."""
        return frozenset(trial.number for trial in self._held())

    def hear(self, ended: Iterable[FrozenTrial]) -> None:
        """Take trials that have ended; of those heard of before nothing is new."""
        new = [trial for trial in ended if trial.number not in self._heard]
        self._heard.update(trial.number for trial in new)
        considered = {trial.number: trial for trial in [*self._held(), *new]}
        if self._keep:
            complete = [trial for trial in considered.values() if trial.state == TrialState.COMPLETE and trial.values]
            self._best = sorted(complete, key=self._rank)[: self._keep]
            self._last = max(considered.values(), key=_when, default=None)
        kept = self.kept
        self._drop.update({number: None for number, trial in considered.items() if _has_file(trial)})
        for number in kept:
            self._drop.pop(number, None)

    def take_drop(self) -> tuple[int, ...]:
        """The trials whose checkpoints may go, once their ends are durable; each is given once."""
        drop, self._drop = tuple(self._drop), {}
        return drop

    def _held(self) -> list[FrozenTrial]:
        return [*self._best, *([self._last] if self._last is not None else [])]

    def _rank(self, trial: FrozenTrial) -> tuple[bool, float, int]:
        value: float = trial.values[0]
        return not feasible(trial), -value if self._objective.direction == "maximize" else value, trial.number


def kept_trials(trials: Collection[FrozenTrial], keep: int, objective: Objective) -> frozenset[int]:
    """Numbers of the trials whose checkpoints are kept, of all of a study's trials."""
    keeping = Keeping(keep, objective)
    keeping.hear(trial for trial in trials if trial.state.is_finished())
    return keeping.kept


def _when(trial: FrozenTrial) -> tuple[float, int]:
    ended: datetime | None = trial.datetime_complete
    return (ended.timestamp() if ended is not None else 0.0, trial.number)


def _has_file(trial: FrozenTrial) -> bool:
    """Whether a checkpoint may lie somewhere: one was told of, or an attempt died, perhaps without telling."""
    attempt = trial.user_attrs.get(attributes.ATTEMPT, 0)
    return attributes.CHECKPOINT in trial.user_attrs or (isinstance(attempt, int) and attempt > 1)
