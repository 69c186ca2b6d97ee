"""What whoever watches a run is to hear of, each thing once: trials that ended, and warnings."""

from __future__ import annotations

from hpo.search.messages import Checkpointed, Finished, Remark, TrialEnd
from hpo.search.plan import SearchPlan


class Bulletin:
    """Collects what is new until it is taken. ended_in_run: how many trials have ended so far."""

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan
        self._ended: list[TrialEnd] = []
        self._warnings: list[str] = []
        self._remarks: set[str] = set()
        self._read_checked = False
        self._trouble_told = False
        self.ended_in_run = 0

    def ahead(self, seconds: float, counted: int, open_trials: int, left: float | None) -> float:
        """Seconds for which a run will go on that has worked so many; 0 where that is not known.

        counted: trials of the budget that have ended. open_trials: in flight, each taken to be half done: those of a
        pack end together, and late. left: seconds, of a budget of time.
        """
        if self._plan.trials is None:
            return left or 0.0
        done, to_do = self.ended_in_run + open_trials / 2, self._plan.trials - counted - open_trials / 2
        paced = seconds * max(to_do, 0.0) / done if self.ended_in_run else 0.0
        return paced if left is None else min(paced, left)

    def take(self) -> tuple[tuple[TrialEnd, ...], tuple[str, ...]]:
        """The trials that ended, and the warnings, since this was last asked."""
        ended, self._ended = tuple(self._ended), []
        warnings, self._warnings = tuple(self._warnings), []
        return ended, warnings

    def end(self, end: TrialEnd) -> None:
        """A trial has ended."""
        self._ended.append(end)
        self.ended_in_run += 1

    def remark(self, said: Remark) -> bool:
        """Whether it is new: several slots find the same out."""
        if said.text in self._remarks:
            return False
        self._remarks.add(said.text)
        if said.warning:
            self._warnings.append(said.text)
        return True

    def trouble(self, item: Checkpointed) -> None:
        """Perhaps a checkpoint could not be written; the first one is told."""
        if item.trouble is not None and not self._trouble_told:
            self._trouble_told = True
            self._warnings.append(f"a checkpoint of trial {item.number} was not written, it goes on: {item.trouble}")

    def unread(self, item: Finished) -> str | None:
        """Why the sweep is to fail, if it is: the first COMPLETE trial shows whether every parameter is read.

        One that went on from a checkpoint, perhaps its last, shows nothing: it need not have read what it once did.
        """
        if self._read_checked or item.attempt > 1:
            return None
        self._read_checked = True
        if not item.unread:
            return None
        space = self._plan.space
        conditional, used = space.conditional(), space.rests_on(space.ties.keys() - set(item.unread))
        fault = None
        for name in item.unread:
            if name in used:  # by a tie that was read
                continue
            key = f"space.tie.{name}" if name in space.ties else f"space.{name}"
            if name in conditional or not self._plan.unread_ends:
                self._warnings.append(f"{key}: trial {item.number} never read it")
            else:
                fault = fault or f"{key}: the training function never read this parameter from its config"
        return fault
