"""Our Searcher: Tune asks it for slots, not for trials. Trials are the coordinator's."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.tune.search import Searcher

from hpo.search.messages import Lost
from hpo.tuning.cluster import SlotResources, fits, node_answers
from hpo.tuning.slot import SlotWork

FITS_COUNTED_EVERY = 2.0  # seconds


class SlotSearcher(Searcher):
    """Suggests a slot while one more would find work and fits on the cluster. Only plain data and handles here:
    Tune pickles it."""

    def __init__(self, coordinator: Any, work: SlotWork, resources: SlotResources) -> None:
        super().__init__(metric="value", mode="max")
        self._coordinator = coordinator
        self._work = work
        self._resources = resources
        self._live: set[str] = set()
        self._fits = 0
        self._counted_at = 0.0

    def suggest(self, trial_id: str) -> dict[str, Any] | Any | None:
        """A slot's config, None for "not now", or FINISHED."""
        wanted, over = ray.get(self._coordinator.wants_slot.remote(len(self._live)))
        if over and not self._live:
            return Searcher.FINISHED
        # with no slot alive None would make Tune sleep for minutes; a slot that does not fit yet is waited for properly
        if self._live and (not wanted or len(self._live) >= self._room()):
            return None
        self._live.add(trial_id)
        return {"slot": trial_id, "work": self._work, "coordinator": self._coordinator}

    def _room(self) -> int:
        if time.monotonic() - self._counted_at > FITS_COUNTED_EVERY:
            self._fits, self._counted_at = fits(self._resources), time.monotonic()
        return self._fits

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A slot ended by itself, or its process or node died."""
        del result
        self._live.discard(trial_id)
        if not error:
            lost = Lost("process", "its slot ended without it")  # after a clean end there is nothing to put back
        else:
            node = ray.get(self._coordinator.node_of.remote(trial_id))
            node_died = node is not None and not node_answers(node)
            lost = Lost("node", "its node died") if node_died else Lost("process", "killed from outside, or by a crash")
        ray.get(self._coordinator.lost.remote(trial_id, lost))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep resumes from SQL."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as above."""
