"""What the coordinator is told: a sweep reduced to what the search needs, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hpo.search.pruners import Pruner
from hpo.search.samplers import Sampler
from hpo.space import Space

IN_FLIGHT_WITHOUT_COUNT = 64


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
    timeout: wall seconds of a trial since its last start. retries: of a trial whose code raised.
    max_in_a_row: FAILs in a row that end the sweep. unread_ends: whether a parameter that is never read is an error.
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
    timeout: float | None = None
    retries: int = 0
    max_in_a_row: int = 10
    unread_ends: bool = False
    keep: int = 0

    def in_flight(self, slots: int) -> int:
        """How many trials may be open at once, so that the sampler still learns from what has ended.

        A quarter of the trials, and never fewer than the slots; slots: how many there are, where the plan says
        "as many as fit".
        """
        share = IN_FLIGHT_WITHOUT_COUNT if self.trials is None else self.trials // 4
        return max(share, self.slots or slots, 1)
