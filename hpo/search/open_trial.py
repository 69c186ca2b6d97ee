"""A trial that is being trained, as the coordinator knows it, and what its attributes say of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial

from hpo.search import attributes
from hpo.search.messages import Assignment, TrialEnd
from hpo.search.states import State, TrialStatus


@dataclass
class OpenTrial:
    """A RUNNING trial: who trains it, since when, and what it has said.

    started: on the clock of the caller. last_step: of this attempt. metrics: the last value of each, of all attempts.
    misfit: why it cannot be trained at all, for a trial that somebody enqueued with values that do not fit.
    is_new: whether the sampler suggested it just now. checkpoint: where its last checkpoint lies. since: its last start
    on a monotonic clock; of dates none is trusted.
    """

    trial: optuna.Trial
    status: TrialStatus
    slot: str
    assignment: Assignment
    started: float
    last_step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    misfit: str | None = None
    put_back_told: bool = False
    checkpoint: str | None = None
    since: float = 0.0
    is_new: bool = False

    @property
    def number(self) -> int:
        """Optuna's number of the trial."""
        return self.status.number

    @property
    def known(self) -> FrozenTrial:
        """What Optuna's Trial knows of itself; its public properties copy all of it at each look."""
        return self.trial._cached_frozen_trial

    def count(self, attribute: str) -> int:
        """A counter kept as an attribute, 0 before it was first set."""
        return count(self.known, attribute)


def trial_end(trial: FrozenTrial, state: State, reason: str | None) -> TrialEnd:
    """One that has ended, for progress lines."""
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    return TrialEnd(trial.number, state, trial.values[0] if trial.values else None, reason, seconds, trial.params)


def count(trial: FrozenTrial, attribute: str) -> int:
    """A counter kept as an attribute, 0 before it was first set."""
    value = trial.user_attrs.get(attribute, 0)
    return value if isinstance(value, int) else 0


def said_before(trial: FrozenTrial, objective: str) -> dict[str, float]:
    """The last values of an earlier attempt: one that goes on from its last checkpoint need not say them again."""
    stored = trial.user_attrs.get(attributes.METRICS)
    said: dict[str, float] = dict(stored) if isinstance(stored, dict) else {}
    if trial.last_step is not None:
        said[objective] = trial.intermediate_values[trial.last_step]
    return said
