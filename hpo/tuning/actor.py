"""The coordinator as one synchronous Ray actor on the driver's node."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo import __version__
from hpo.loader import Reference, run_file
from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import Answer, Lost, News, Snapshot
from hpo.search.plan import SearchPlan
from hpo.tuning.files import TrialFiles
from hpo.tuning.source import StudySource


@dataclass(frozen=True)
class SlotPlace:
    """Where a slot runs: its node, the actor to kill when it hangs, and the hpo installed there."""

    node: str
    actor: Any
    version: str


class CoordinatorActor:
    """What slots and driver call. It opens the study in its own process; nobody else writes to it."""

    def __init__(
        self,
        packed_plan: bytes,
        source: StudySource,
        run: Mapping[str, Any],
        files: TrialFiles,
        plugins: Sequence[Reference] = (),
    ) -> None:
        # Ctrl-C in a terminal reaches every process of its group; only the driver decides what it means
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for plugin in plugins:
            run_file(Path(plugin.source), "plugins")
        plan: SearchPlan = pickle.loads(packed_plan)  # may hold entries that the plugins have just registered
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._opened = source.open()
        live = LiveStudy(self._opened.study, plan, self._opened.flush, files.log_text, self._opened.batch)
        self._coordinator = Coordinator(live, plan, run)
        self._places: dict[str, SlotPlace] = {}

    def adopted(self) -> list[int]:
        """Numbers of the trials of a dead run that go on in this one."""
        return self._coordinator.adopted

    def enter(self, slot: str, place: SlotPlace) -> None:
        """A slot has started at `place`. Another version of hpo there would speak another language: the sweep ends."""
        self._places[slot] = place
        if place.version != __version__:
            self._coordinator.fail(
                f"node {place.node[:8]} has hpo {place.version}, this launch has {__version__}; install one version"
            )
        self._coordinator.open_slot(slot)

    def exchange(self, slot: str, news: Sequence[News], free: int, holds: Sequence[int]) -> Answer:
        """See Coordinator.exchange. A fault of ours ends the sweep with its words instead of starving the slots."""
        try:
            return self._coordinator.exchange(slot, news, free, holds)
        except Exception as error:
            self._coordinator.fail(f"the coordinator failed: {type(error).__name__}: {error}")
            raise

    def wants_slot(self, live_slots: int) -> tuple[bool, bool]:
        """Whether one more slot would find work, and whether the sweep is over."""
        return self._coordinator.wants_slot(live_slots), self._coordinator.is_over()

    def node_of(self, slot: str) -> str | None:
        """The node a slot started on, None before it did."""
        place = self._places.get(slot)
        return place.node if place is not None else None

    def lost(self, slot: str, lost: Lost) -> list[int]:
        """A slot is gone: put its trials back; their numbers."""
        return self._coordinator.lost(slot, lost)

    def tick(self) -> Snapshot:
        """The snapshot to draw; kills the slots whose trial is past its timeout."""
        snapshot, late = self._coordinator.tick()
        for slot in late:
            self._kill(slot)
        return snapshot

    def drain(self, why: str) -> None:
        """Start nothing more; trials in flight are put back at their next report."""
        self._coordinator.drain(why)

    def fail(self, sentence: str) -> None:
        """End the sweep with an error."""
        self._coordinator.fail(sentence)

    def close(self, why: str) -> Snapshot:
        """End the run and leave the storage with everything written."""
        snapshot = self._coordinator.close(why)
        self._opened.close()
        return snapshot

    def _kill(self, slot: str) -> None:
        place = self._places.get(slot)
        if place is not None:
            ray.kill(place.actor)


def start_coordinator(
    plan: SearchPlan, source: StudySource, run: Mapping[str, Any], files: TrialFiles, plugins: Sequence[Reference] = ()
) -> Any:
    """The actor's handle. It takes no CPU of the slots and lives and dies with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote(CoordinatorActor)
    placed = remote.options(num_cpus=0, max_restarts=0, scheduling_strategy=here)
    return placed.remote(pickle.dumps(plan), source, {**run, "pid": os.getpid()}, files, plugins)
