"""A pruner that can say why it stopped a trial."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from optuna.trial import FrozenTrial


@runtime_checkable
class Explains(Protocol):
    """A pruner with reasons."""

    def why(self, trial: FrozenTrial) -> str | None:
        """Why `trial` was stopped, None when the last trial that was stopped is another."""


class Told:
    """Keeps the reason of the last stop: whoever asks does so before the next decision."""

    _told: tuple[int, str] | None = None

    def stop(self, trial: FrozenTrial, sentence: str) -> Literal[True]:
        """Note why; `sentence` goes on after `pruned: step 6, `."""
        self._told = trial.number, sentence
        return True

    def why(self, trial: FrozenTrial) -> str | None:
        """What `stop` was told of this trial, if it was the last."""
        return self._told[1] if self._told is not None and self._told[0] == trial.number else None


def worse(maximize: bool) -> str:
    """The word for a value on the wrong side of another."""
    return "below" if maximize else "above"
