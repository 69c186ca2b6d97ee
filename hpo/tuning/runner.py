"""One run: Ray up, coordinator up, slots by Tune until the sweep is over or told to stop, everything closed."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from hpo.encryption import Key
from hpo.errors import HpoError, Interrupted, SweepFailed
from hpo.search.messages import DONE, Snapshot
from hpo.search.plan import Rows, SearchPlan
from hpo.tuning.cluster import SlotResources
from hpo.tuning.files import TrialFiles
from hpo.tuning.line import Line
from hpo.tuning.source import StudySource

if TYPE_CHECKING:
    from hpo.holding import Tenure

TICK = 0.2  # seconds between two looks at the sweep
STOP_LIMIT = 25.0  # seconds from a signal until the driver leaves, closed or not
CLOSE_TIMEOUT = 30.0


@dataclass(frozen=True)
class RunPlan:
    """A run as data.

    source: opens the study in the coordinator's process. seconds: of earlier runs. events: kind and sentence of what
    was done until now. pack: how many trials a slot trains at once. plugins: loaded in the coordinator's process before
    the plan. key: what slots encrypt with; the coordinator hands it to them, since Tune writes what it hands to a slot
    to the disk.
    """

    search: SearchPlan
    job: Any  # hpo.training.function.TrainingJob; Any keeps torch and Ray out of who builds it
    resources: SlotResources
    files: TrialFiles
    source: StudySource
    seconds: float = 0.0
    events: tuple[tuple[str, str], ...] = ()
    isolate: bool = False
    pack: Rows = "off"
    plugins: Sequence[Any] = ()
    key: Key | None = None


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
        return f"stopped by {signal.Signals(self.received).name}" if self.received is not None else DONE

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

    def __init__(
        self,
        show: Callable[[Snapshot], None],
        say: Callable[[str], None],
        signals: Signals,
        tenure: Tenure | None = None,
        seconds_before: float = 0.0,
    ) -> None:
        self._show = show
        self._say = say
        self._signals = signals
        self._looked = 0.0
        self._drained = False
        self._tenure, self._seconds_before = tenure, seconds_before
        self._tune_trials: Sequence[Any] = ()
        self.dead: HpoError | None = None
        self.last: Snapshot | None = None

    def look(self, line: Line, tune_trials: Sequence[Any]) -> None:
        """One look, at most every TICK seconds. tune_trials: Tune's own of this run, each a slot."""
        self._tune_trials = tune_trials
        if self.dead or time.monotonic() - self._looked < TICK:
            return
        self._looked = time.monotonic()
        try:
            if self._signals.received is not None and not self._drained:
                self._drained = True
                line.drain(self._signals.why)
            self.last = line.tick()
        except HpoError as error:
            self.dead = error
            return
        self._show(self.last)
        if self._tenure is not None:
            self._tenure.heard(self.last.seconds - self._seconds_before)
            self.dead = self._tenure.lost

    def coordinator_died(self, how: str) -> None:
        """Stop every slot: its trials go on in new ones, which only the next coordinator may hand out."""
        import ray

        self._say(f"the coordinator: {how}; starting another, trials in flight go on from their checkpoints")
        for trial in self._tune_trials:
            actor = trial.temporary_state.ray_actor
            if actor is not None:
                ray.kill(actor)

    @property
    def finished(self) -> bool:
        """Whether Tune should end now, whatever it still waits for."""
        return self.dead is not None or (self.last is not None and self.last.over and not self.last.running)


def run(
    plan: RunPlan,
    show: Callable[[Snapshot], None],
    say: Callable[[str], None],
    signals: Signals,
    tenure: Tenure | None = None,
) -> Snapshot:
    """Work on the study until it is done; the last snapshot. Ray is up already (see cluster.start).

    tenure: of a study that others could work on.

    Raises SweepFailed with the reason, Interrupted after a signal. Either way nothing of the run is left RUNNING.
    """
    from hpo.tuning.actor import coordinators

    watcher = Watcher(show, say, signals, tenure, plan.seconds)
    line = Line(coordinators(plan, tenure), watcher.coordinator_died)
    folder = Path(tempfile.mkdtemp(prefix="hpo-tune-"))
    try:
        from hpo.tuning.tune_loop import fit  # imports ray.tune while the coordinator's process starts

        adopted = line.adopted()
        if adopted:
            say(f"going on with interrupted trials {', '.join(map(str, adopted))}")
        signals.check()
        fit(line, plan, watcher, folder)
    except SweepFailed as error:
        watcher.dead = error
    finally:
        last = _close(line, watcher, signals.why)
        shutil.rmtree(folder, ignore_errors=True)
    if last is not None:
        show(last)
    return _outcome(last, watcher, signals)


def _close(line: Line, watcher: Watcher, why: str) -> Snapshot | None:
    if watcher.dead is not None:
        return None
    try:
        return line.close(why, CLOSE_TIMEOUT)
    except (HpoError, TimeoutError) as error:
        watcher.dead = SweepFailed(f"the study could not be closed: {' '.join(str(error).split())[:300]}")
        return None


def _outcome(last: Snapshot | None, watcher: Watcher, signals: Signals) -> Snapshot:
    from hpo.storage import Fenced

    if last is None:
        raise watcher.dead or SweepFailed("the run ended without a word")
    if last.taken_over:
        raise Fenced(last.failure or "", "what was told before is stored; the other run goes on with it")
    if last.failure is not None:
        raise SweepFailed(last.failure)
    if signals.received is not None:
        raise Interrupted(signals.why)
    return last
