"""What became of a study's trials since one last looked, so that an index of them is kept up to date, not made anew."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from optuna.study import Study
from optuna.trial import FrozenTrial


@runtime_checkable
class Journaled(Protocol):
    """A storage that can say what changed."""

    def changes(self, study_id: int, since: int) -> tuple[list[FrozenTrial], int]:
        """Trials that came, changed state or got an attribute since a call that gave `since`, and the next."""


class Feed:
    """News of one study's trials, by whomever they were made.

    A storage that can say what changed is asked; of any other all trials are listed, which costs a copy of the list and
    a look at each trial that was not finished (finished trials never change). Not thread safe.
    """

    def __init__(self, study: Study) -> None:
        self._storage = study._storage
        self._journal = study._storage if isinstance(study._storage, Journaled) else None
        self._study_id = study._study_id
        self._since = 0
        self._open: list[int] = []

    def is_of(self, study: Study) -> bool:
        """Whether this is the feed of `study`, be it a view on it or another object for the same one."""
        return self._storage is study._storage and self._study_id == study._study_id

    def news(self) -> list[FrozenTrial]:
        """Each trial that is new, has another state or other attributes than at the last call; perhaps others too.

        The first call gives all of them. A trial may come with another final state than before, when somebody else had
        ended it first.
        """
        if self._journal is not None:
            changed, self._since = self._journal.changes(self._study_id, self._since)
            return changed
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        places = [*self._open, *range(self._since, len(trials))]
        self._since = len(trials)
        self._open = [place for place in places if not trials[place].state.is_finished()]
        return [trials[place] for place in places]
