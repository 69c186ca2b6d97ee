"""How the trials in flight are shared among the slots, each of which may train many at once, and how busy they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo.search.plan import SearchPlan


@dataclass
class _Group:
    """Suggestions of one slot that agree on the structural parameters. left: how many are still to come."""

    structure: Mapping[str, Any]
    left: int


class Allotment:
    """Which slots there are, what each could hold, as its calls tell, and what it may hold.

    `held` is always a count of open trials: of one slot, or by slot. Not thread safe.
    """

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan
        self._slots: set[str] = set()
        self._fenced: set[str] = set()
        self._wants: dict[str, int] = {}
        self._most: Counter[str] = Counter()
        self._groups: dict[str, _Group] = {}
        self._trained = self._trainable = 0

    def hear(self, slot: str, held: int, free: int) -> None:
        """A slot holds some trials and could hold more."""
        self._wants[slot] = max(held + free, 1)  # one that has nothing just now still lives to take a trial

    def open(self, slot: str) -> None:
        """Admit a slot."""
        self._slots.add(slot)

    def fence(self, slot: str) -> None:
        """A slot is gone, or counts as gone: whatever it says from now on."""
        self._fenced.add(slot)
        self._wants.pop(slot, None)

    def is_open(self, slot: str) -> bool:
        """Whether it was admitted and is not gone."""
        return slot in self._slots and slot not in self._fenced

    def slots(self, live: int) -> int:
        """How many slots there are. live: those that were started, of which some may not be admitted yet."""
        return max(live, len(self._slots - self._fenced))

    def share(self, slots: int, counted: int) -> int:
        """How many trials one of `slots` slots may hold. counted: trials of the budget that have ended."""
        left = None if self._plan.trials is None else self._plan.trials - counted
        return self._plan.share(slots, left)

    def unfilled(self, slots: int, held: Mapping[str, int], counted: int) -> int:
        """How many more trials `slots` slots will take, should there be one more of them.

        Those that were not heard of yet take their whole share.
        """
        share = self.share(slots + 1, counted)
        known = sum(max(min(share, wants) - held.get(slot, 0), 0) for slot, wants in self._wants.items())
        return known + share * max(slots - len(self._wants), 0)

    def structure(self, slot: str) -> Mapping[str, Any] | None:
        """What the next new suggestion for a slot has to take as it is, to be of the shape of those before it."""
        group = self._groups.get(slot)
        packs = self._wants.get(slot, 1) > 1  # one that trains them one by one gains nothing from it
        return group.structure if packs and group is not None and group.left > 0 else None

    def suggested(self, slot: str, params: Mapping[str, Any], share: int) -> None:
        """A slot got a new suggestion; where it begins a group, so many have the same structure."""
        if not self._plan.structural:
            return
        if self.structure(slot) is None:
            own = {path: value for path, value in params.items() if path in self._plan.structural}
            self._groups[slot] = _Group(own, share)
        self._groups[slot].left -= 1

    def trained(self, slot: str, held: int, reporting: int, left: int) -> None:
        """A round of a slot: of the trials it held so many report. left: those that could have been started for it.

        Rows for which there is no trial any more are no idle ones: a pack shrinks.
        """
        self._most[slot] = max(self._most[slot], held)
        self._trained += reporting
        self._trainable += max(held, reporting) + min(self._most[slot] - held, max(left, 0))

    @property
    def busy(self) -> float | None:
        """The share of the rows that trained, round by round; None where no slot had several."""
        if max(self._most.values(), default=0) < 2 or not self._trainable:
            return None
        return self._trained / self._trainable
