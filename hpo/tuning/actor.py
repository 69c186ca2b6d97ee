"""The coordinator as one synchronous Ray actor on the driver's node."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo import __version__
from hpo.encryption import Key
from hpo.errors import HpoError, mask
from hpo.loader import Reference, run_file
from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import ENDED, Answer, Lost, News, Snapshot, refusal
from hpo.search.plan import SearchPlan
from hpo.search.speeds import Speeds
from hpo.storage import Fenced
from hpo.tuning.files import TrialFiles
from hpo.tuning.line import Start
from hpo.tuning.slot_place import SlotPlace
from hpo.tuning.source import StudySource

if TYPE_CHECKING:
    from hpo.holding import Tenure
    from hpo.tuning.runner import RunPlan

R = TypeVar("R")


@dataclass(frozen=True)
class Beginning:
    """What was before a coordinator.

    seconds: worked on the study, all runs together. events: kind and sentence of what the driver has done.
    death: how the one before it died, in the same run.
    """

    seconds: float = 0.0
    events: tuple[tuple[str, str], ...] = ()
    death: str | None = None


class CoordinatorActor:
    """What slots and driver call. It opens the study in its own process; nobody else writes to it.

    After a fault of ours, or once nothing can be written any more, it says why and refuses everyone.
    """

    def __init__(
        self,
        packed_plan: bytes,
        source: StudySource,
        beginning: Beginning,
        files: TrialFiles,
        plugins: Sequence[Reference] = (),
        key: Key | None = None,
    ) -> None:
        # Ctrl-C in a terminal reaches every process of its group; only the driver decides what it means
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._given = (packed_plan, source, beginning, files, plugins)
        self._key = key
        self._places: dict[str, SlotPlace] = {}
        self._fault: Exception | None = None

    def open(self) -> None:
        """Open the study. Raises what opening a storage raises."""
        packed_plan, source, beginning, files, plugins = self._given
        for plugin in plugins:
            run_file(Path(plugin.source), "plugins")
        plan: SearchPlan = pickle.loads(packed_plan)  # may hold entries that the plugins have just registered
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        opened = self._opened = source.open()
        for kind, text in beginning.events:
            opened.log(kind, text, None)
        speeds = Speeds(opened.recall, opened.keep)
        writing = opened.flush, files.log_text, opened.batch, opened.record, opened.log
        live = LiveStudy(opened.study, plan, *writing, speeds)
        left = "its run ended"
        if beginning.death is not None:
            left = f"the coordinator: {beginning.death}"
            opened.log("restarted", f"coordinator restarted: {beginning.death}", None)
        self._coordinator = Coordinator(live, plan, beginning.seconds, left)
        opened.flush()
        self._last = self._coordinator.snapshot()

    def adopted(self) -> list[int]:
        """Numbers of the trials that a dead run or coordinator left, which go on in this one."""
        return self._coordinator.adopted

    def enter(self, slot: str, place: SlotPlace) -> Key | None:
        """A slot has started at `place`; the key it encrypts with.

        Another version of hpo there would speak another language: the sweep ends.
        """
        self._places[slot] = place
        if place.version != __version__:
            self._coordinator.fail(
                f"node {place.node[:8]} has hpo {place.version}, this launch has {__version__}; install one version"
            )
        self._coordinator.open_slot(slot)
        self._note_slot(slot, "started")
        return self._key

    def key(self) -> Key | None:
        """The key that the workers of a slot encrypt with."""
        return self._key

    def exchange(self, slot: str, news: Sequence[News], free: int, holds: Sequence[int]) -> Answer:
        """See Coordinator.exchange. A fault of ours ends the sweep with its words instead of starving the slots."""
        return self._sound(lambda: self._coordinator.exchange(slot, news, free, holds)) or refusal(news)

    def wants_slot(self, live_slots: int) -> tuple[bool, bool]:
        """Whether one more slot would find work, and whether the sweep is over."""
        asked = self._sound(lambda: (self._coordinator.wants_slot(live_slots), self._coordinator.is_over()))
        return asked or (False, True)

    def node_of(self, slot: str) -> str | None:
        """The node a slot started on, None before it did."""
        place = self._places.get(slot)
        return place.node if place is not None else None

    def lost(self, slot: str, lost: Lost) -> list[int]:
        """A slot is gone: put its trials back; their numbers."""
        if slot in self._places and lost != ENDED:
            self._note_slot(slot, f"lost: {lost.detail}")
        return self._sound(lambda: self._coordinator.lost(slot, lost)) or []

    def tick(self) -> Snapshot:
        """The snapshot to draw; kills the slots whose trial is past its timeout."""
        ticked = self._sound(self._coordinator.tick)
        if ticked is not None:
            self._last, late = ticked
            for slot in late:
                self._note_slot(slot, "killed: its trials came to no report in time")
                self._kill(slot)
        return self._seen()

    def drain(self, why: str) -> None:
        """Start nothing more; trials in flight are put back at their next report."""
        self._coordinator.drain(why)

    def fail(self, sentence: str) -> None:
        """End the sweep with an error."""
        self._coordinator.fail(sentence)

    def close(self, why: str) -> Snapshot:
        """End the run and leave the storage with everything written."""
        faulty = self._fault is not None
        try:  # also after a fault: what can still be put back is
            self._last = self._coordinator.close(why)
            self._opened.close()
        except Exception as error:
            if not faulty:
                self._fault = error
        return self._seen()

    def _sound(self, do: Callable[[], R]) -> R | None:
        """What `do` returns; None, and from then on always None, when it raised."""
        if self._fault is None:
            try:
                return do()
            except Exception as error:
                self._fault = error
                for slot in self._places:  # a slot that is silent would train on for nothing
                    self._kill(slot)
        return None

    def _seen(self) -> Snapshot:
        """The newest snapshot, with the fault in it when there is one; the trials that ended are told once."""
        seen, self._last = self._last, replace(self._last, ended=(), warnings=())
        if self._fault is None:
            return seen
        taken_over = isinstance(self._fault, Fenced)
        return replace(seen, failure=_sentence(self._fault), over=True, running=0, taken_over=taken_over)

    def _note_slot(self, slot: str, what: str) -> None:
        place = self._places[slot]
        self._sound(lambda: self._opened.log("slot", f"slot {slot} on node {place.node[:8]} {what}", None))

    def _kill(self, slot: str) -> None:
        place = self._places.get(slot)
        if place is not None:
            ray.kill(place.actor)


def _sentence(error: Exception) -> str:
    """Our own errors speak for themselves; any other is a fault of ours."""
    text = mask(" ".join(str(error).split()))[:500]
    return text if isinstance(error, HpoError) else f"the coordinator failed: {type(error).__name__}: {text}"


def coordinators(plan: RunPlan, tenure: Tenure | None) -> Start:
    """How a run's coordinators are started: actors that take no CPU of the slots and live and die with the driver.

    tenure: gives each but the first the next number, so that a dead one that is not quite dead can write nothing.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote(CoordinatorActor)
    placed = remote.options(num_cpus=0, max_restarts=0, scheduling_strategy=here)
    packed = pickle.dumps(plan.search)

    def start(death: str | None, seconds: float) -> Any:
        if death is None:
            source, beginning = plan.source, Beginning(plan.seconds, plan.events)
        else:
            source = plan.source if tenure is None else plan.source.under(tenure.advance())
            beginning = Beginning(max(seconds, plan.seconds), death=death)
        return placed.remote(packed, source, beginning, plan.files, plan.plugins, plan.key)

    return start
