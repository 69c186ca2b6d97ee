"""Our Searcher: Tune asks it for slots, not for trials. Trials are the coordinator's.

Tune pickles it, so it holds plain data and a key; the driver's line to the coordinator stays in this module.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from ray.tune.search import Searcher

from hpo.errors import HpoError
from hpo.search.messages import ENDED, Lost
from hpo.tuning.cluster import SlotResources, fits, node_answers
from hpo.tuning.line import Line
from hpo.tuning.room import give_room_back
from hpo.tuning.slot import SlotWork

FITS_COUNTED_EVERY = 2.0  # seconds
LINES: dict[str, Line] = {}


class SlotSearcher(Searcher):
    """Suggests a slot while one more would find work and fits on the cluster. key: of its line in LINES.

    Once the line is dead it suggests nothing more; the Watcher hears of that too, and says why.
    """

    def __init__(self, key: str, work: SlotWork, resources: SlotResources) -> None:
        super().__init__(metric="value", mode="max")
        self._key = key
        self._work = work
        self._resources = resources
        self._live: set[str] = set()
        self._fits = 0
        self._counted_at = 0.0

    def suggest(self, trial_id: str) -> dict[str, Any] | Any | None:
        """A slot's config, None for "not now", or FINISHED."""
        line = LINES[self._key]
        try:
            wanted, over = line.wants_slot(len(self._live))
        except HpoError:
            wanted, over = False, True
        if over and not self._live:
            return Searcher.FINISHED
        # with no slot alive None would make Tune sleep for minutes; a slot that does not fit yet is waited for properly
        if self._live and (not wanted or len(self._live) >= self._room()):
            return None
        self._live.add(trial_id)
        return {"slot": trial_id, "work": self._work, "coordinator": line.actor}

    def _room(self) -> int:
        if time.monotonic() - self._counted_at > FITS_COUNTED_EVERY:
            self._fits, self._counted_at = fits(self._resources), time.monotonic()
        return self._fits

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A slot ended by itself, or its process or node died."""
        del result
        self._live.discard(trial_id)
        if self._resources.workers > 1:
            give_room_back(trial_id)
        line = LINES[self._key]
        with contextlib.suppress(HpoError):
            line.lost(trial_id, _died(line.node_of(trial_id)) if error else ENDED)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep resumes from SQL."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as above."""


def _died(node: str | None) -> Lost:
    if node is not None and not node_answers(node):
        return Lost("node", "its node died")
    return Lost("process", "killed from outside, or by a crash")
