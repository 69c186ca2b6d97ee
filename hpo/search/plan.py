"""What the coordinator is told: a sweep reduced to what the search needs, as frozen data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from hpo.search.constraints import Constraints
from hpo.search.pruners import Pruner
from hpo.search.samplers import Sampler
from hpo.space import Space

IN_FLIGHT_WITHOUT_COUNT = 64

Rows = int | Literal["auto", "off"]
"""How many trials a slot trains at once as one stacked model."""


@dataclass(frozen=True)
class Objective:
    """A reported metric to optimize. at: whether a COMPLETE trial's value is its last report's or its best."""

    metric: str
    direction: Literal["maximize", "minimize"]
    at: Literal["last", "best"] = "last"

    def better(self, new: float, old: float) -> bool:
        """Whether `new` improves on `old`."""
        return new > old if self.direction == "maximize" else new < old


@dataclass(frozen=True)
class SearchPlan:
    """Everything the coordinator needs besides the study itself.

    trials, seconds: the budget of the whole study. slots: how many may run at once, None for as many as fit.
    fits: how many fitted when the run began. pack: trials of one slot at once.
    structural: parameters on which the trials of a pack have to agree.
    timeout: wall seconds of a trial since its last start. retries: of a trial whose code raised.
    max_in_a_row: FAILs in a row that end the sweep. unread_ends: whether a parameter that is never read is an error.
    workers: processes that train one trial.
    constraints: what a trial has to meet to be the best.
    keep: of how many best trials the checkpoints are kept, besides the last that ended.
    """

    study: str
    space: Space
    objectives: tuple[Objective, ...]
    sampler: Sampler
    pruner: Pruner
    seed: int
    max_resource: int | None = None
    trials: int | None = None
    seconds: float | None = None
    slots: int | None = None
    fits: int = 1
    pack: Rows = "off"
    structural: frozenset[str] = frozenset()
    timeout: float | None = None
    retries: int = 0
    max_in_a_row: int = 10
    unread_ends: bool = False
    keep: int = 0
    workers: int = 1
    constraints: Constraints = field(default_factory=Constraints)

    def in_flight(self, slots: int) -> int:
        """How many trials may be open at once, so that the sampler still learns from what has ended.

        A quarter of the trials, and never fewer than the slots; or as many as `pack` says for each slot. slots: how
        many there are, where the plan says "as many as fit".
        """
        if isinstance(self.pack, int):
            return self.pack * self.expected(slots)
        share = IN_FLIGHT_WITHOUT_COUNT if self.trials is None else self.trials // 4
        return max(share, self.slots or slots, 1)

    def expected(self, slots: int) -> int:
        """Among how many slots the trials in flight are shared, of which there are `slots` now."""
        fitting = self.fits if self.slots is None else min(self.slots, self.fits)
        return max(slots, fitting, 1)

    def share(self, slots: int, left: int | None = None) -> int:
        """How many trials one slot may hold, so that the first one does not take them all.

        left: how many trials have not ended yet, of those in the budget; None without one.
        """
        if self.pack == "off":
            return 1
        most = self.in_flight(slots) if left is None else min(self.in_flight(slots), left)
        return max(math.ceil(most / self.expected(slots)), 1)
