"""One run: Ray up, coordinator up, slots by Tune until the sweep is over or told to stop, everything closed."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hpo.errors import Interrupted, SweepFailed
from hpo.search.messages import Snapshot
from hpo.search.plan import SearchPlan
from hpo.tuning.cluster import SlotResources
from hpo.tuning.files import TrialFiles
from hpo.tuning.source import StudySource

TICK = 0.2  # seconds between two looks at the sweep
STOP_LIMIT = 25.0  # seconds from a signal until the driver leaves, closed or not
CLOSE_TIMEOUT = 30.0


@dataclass(frozen=True)
class RunPlan:
    """A run as data.

    source: opens the study in the coordinator's process. run: what is recorded of the run (host, process start,
    seconds of earlier runs). plugins: loaded in the coordinator's process before the plan.
    """

    search: SearchPlan
    job: Any  # hpo.training.function.TrainingJob; Any keeps torch and Ray out of who builds it
    resources: SlotResources
    files: TrialFiles
    source: StudySource
    run: Mapping[str, Any]
    isolate: bool = False
    plugins: Sequence[Any] = ()


class Signals:
    """SIGINT and SIGTERM during a run: the first asks for a clean stop, the second leaves at once (still resumable)."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._old: dict[int, Any] = {}
        self._limit: threading.Timer | None = None

    def install(self) -> None:
        """Take both signals over. Called again after ray.init, which installs a SIGTERM handler of its own."""
        for number in (signal.SIGINT, signal.SIGTERM):
            old = signal.signal(number, self._handle)
            self._old.setdefault(number, old)

    def restore(self) -> None:
        """Give the signals back."""
        if self._limit is not None:
            self._limit.cancel()
        for number, old in self._old.items():
            signal.signal(number, old)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received is not None:
            os._exit(130)
        self.received = number
        self._limit = threading.Timer(STOP_LIMIT, _leave)
        self._limit.daemon = True
        self._limit.start()

    @property
    def why(self) -> str:
        """`stopped by SIGINT`."""
        return f"stopped by {signal.Signals(self.received).name}" if self.received is not None else "done"

    def check(self) -> None:
        """Raise Interrupted when a signal came; for the time before there is anything to drain."""
        if self.received is not None:
            raise Interrupted(f"{self.why} before any trial was started")


def _leave() -> None:
    """A clean stop that does not come (Ray was told to stop too, and is gone) must not hold the terminal for ever."""
    os.write(2, b"the run could not be closed in time; its trials go on with hpo resume\n")
    os._exit(130)


class Watcher:
    """The driver's eye: looks at the coordinator several times a second while Tune runs, draws, and stops the run."""

    def __init__(self, coordinator: Any, show: Callable[[Snapshot], None], signals: Signals) -> None:
        self._coordinator = coordinator
        self._show = show
        self._signals = signals
        self._looked = 0.0
        self._drained = False
        self.dead: str | None = None
        self.last: Snapshot | None = None

    def look(self) -> None:
        """One look, at most every TICK seconds."""
        if self.dead or time.monotonic() - self._looked < TICK:
            return
        import ray

        self._looked = time.monotonic()
        try:
            self._stop_if_asked()
            self.last = ray.get(self._coordinator.tick.remote())
        except ray.exceptions.RayActorError:
            self.dead = "the coordinator's process died"
        except ray.exceptions.RayTaskError as error:
            self.dead = f"the coordinator failed: {' '.join(str(error.cause).split())[:300]}"
        else:
            self._show(self.last)

    def _stop_if_asked(self) -> None:
        if self._signals.received is not None and not self._drained:
            self._drained = True
            self._coordinator.drain.remote(self._signals.why)

    @property
    def finished(self) -> bool:
        """Whether Tune should end now, whatever it still waits for."""
        return self.dead is not None or (self.last is not None and self.last.over and not self.last.running)


def run(plan: RunPlan, show: Callable[[Snapshot], None], say: Callable[[str], None], signals: Signals) -> Snapshot:
    """Work on the study until it is done; the last snapshot. Ray is up already (see cluster.start).

    Raises SweepFailed with the reason, Interrupted after a signal. Either way nothing of the run is left RUNNING.
    """
    import ray

    from hpo.tuning.actor import start_coordinator

    coordinator = start_coordinator(plan.search, plan.source, plan.run, plan.files, plan.plugins)
    watcher = Watcher(coordinator, show, signals)
    folder = Path(tempfile.mkdtemp(prefix="hpo-tune-"))
    try:
        from hpo.tuning.tune_loop import fit  # imports ray.tune while the coordinator's process starts

        adopted = ray.get(coordinator.adopted.remote())
        if adopted:
            say(f"going on with interrupted trials {', '.join(map(str, adopted))}")
        signals.check()
        fit(coordinator, plan, watcher, folder)
    except ray.exceptions.RayActorError as error:
        watcher.dead = f"the coordinator's process died: {' '.join(str(error).split())[:300]}"
    finally:
        last = _close(coordinator, watcher, signals.why)
        shutil.rmtree(folder, ignore_errors=True)
    if last is not None:
        show(last)
    return _outcome(last, watcher, signals)


def _close(coordinator: Any, watcher: Watcher, why: str) -> Snapshot | None:
    import ray

    if watcher.dead is not None:
        return None
    try:
        last: Snapshot = ray.get(coordinator.close.remote(why), timeout=CLOSE_TIMEOUT)
        return last
    except (ray.exceptions.RayError, TimeoutError) as error:
        watcher.dead = f"the study could not be closed: {' '.join(str(error).split())[:300]}"
        return None


def _outcome(last: Snapshot | None, watcher: Watcher, signals: Signals) -> Snapshot:
    if last is None:
        raise SweepFailed(watcher.dead or "the run ended without a word")
    if last.failure is not None:
        raise SweepFailed(last.failure)
    if signals.received is not None:
        raise Interrupted(signals.why)
    return last
