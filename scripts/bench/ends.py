"""When the trials of a sweep ended and how good they were, the same for every side. Nothing of hpo is imported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial

End = tuple[float, float]
"""Seconds of time.time(), and the value that the trial had at its end."""


def trial_ends(trials: Iterable[FrozenTrial]) -> list[End]:
    """Of Optuna's trials; pruned ones count with their last value, those that failed do not."""
    return [
        (trial.datetime_complete.timestamp(), trial.intermediate_values[max(trial.intermediate_values)])
        for trial in trials
        if trial.datetime_complete is not None and trial.intermediate_values
    ]


def climb(ends: Iterable[End]) -> list[End]:
    """The ends that beat all before them, in order of time."""
    best, found = -math.inf, []
    for moment, value in sorted(ends):
        if value > best:
            best = value
            found.append((moment, value))
    return found


def reached(climbed: Sequence[End], target: float) -> float:
    """When the first trial ended that is as good as `target`; inf where none is."""
    # one side rounds its best to four digits
    return next((moment for moment, value in climbed if value >= target - 1e-4), math.inf)
