"""A slot: one long-lived Tune trial that trains the coordinator's trials one after another.

The training function runs in the slot's main thread; whatever it prints or warns goes to its trial's log file.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from hpo import __version__
from hpo.errors import HpoError, mask
from hpo.search.messages import Answer, Assignment, Crashed, Finished, News, Released, Report
from hpo.training import CheckpointFile, Diverged, Stopped, Trial, Verdict
from hpo.training.function import TrainingFunction, TrainingJob
from hpo.tuning.actor import SlotPlace
from hpo.tuning.files import TrialFiles
from hpo.tuning.guard import leave_with_raylet
from hpo.tuning.trial_log import trial_log

SLICE = 1.0  # seconds of trials between two results of a slot to Tune: a result costs Tune about 17 ms
MAX_WAIT = 1.0
SPOKEN_EVERY = 0.25  # seconds for which reports that nobody decides on may be kept together


@dataclass(frozen=True)
class SlotWork:
    """What every slot of a run is given. threads: of torch, for each trial. isolate: one trial, then end."""

    job: TrainingJob
    files: TrialFiles
    device: str
    threads: int = 1
    isolate: bool = False


class Slot(tune.Trainable):
    """Tune's class API: `step` trains whole trials for about a second, and reports done when there are no more."""

    def setup(self, config: dict[str, Any]) -> None:
        """Load the training function once, and make the slot known to the coordinator."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C means
        leave_with_raylet()
        self._slot: str = config["slot"]
        self._work: SlotWork = config["work"]
        self._coordinator = config["coordinator"]
        self._news: list[News] = []
        self._settled: list[CheckpointFile] = []
        self._holds: tuple[int, ...] = ()
        self._spoke = 0.0
        self._waited = 0.0
        self._taken = 0
        context = ray.get_runtime_context()
        place = SlotPlace(context.get_node_id(), context.current_actor, __version__)
        entered = self._coordinator.enter.remote(self._slot, place)
        self._run = self._load()
        ray.get(entered)

    def _load(self) -> TrainingFunction | None:
        import torch

        torch.set_num_threads(self._work.threads)
        try:
            return self._work.job.load(self._work.device)
        except HpoError as error:
            ray.get(self._coordinator.fail.remote(str(error)))
            return None

    def step(self) -> dict[str, Any]:
        """Train until a slice has passed or nothing is left."""
        try:
            return self._slice()
        except ray.exceptions.RayError:
            raise  # the coordinator is gone, and this slot with it
        except Exception as error:  # a fault of ours ends the sweep with its words, not in a loop of dying slots
            traceback.print_exc()
            ray.get(self._coordinator.fail.remote(f"a slot failed: {_one_line(error)}"))
            return {"value": 0.0, "done": True}

    def _slice(self) -> dict[str, Any]:
        until = time.monotonic() + SLICE
        while time.monotonic() < until:
            isolated_done = self._work.isolate and self._taken > 0
            answer = self._exchange(free=0 if isolated_done or self._run is None else 1)
            if answer.over or isolated_done or self._run is None:
                return {"value": 0.0, "done": True}
            for assignment in answer.assignments:
                self._taken += 1
                ended = self._train(self._run, assignment)
                self._news.append(ended)  # not in one expression: training exchanges, and so replaces the list
            self._waited = 0.0 if answer.assignments else min(MAX_WAIT, self._waited + answer.wait)
            if self._waited:  # sleep(0) would give the core away
                time.sleep(self._waited)
        return {"value": 0.0, "done": False}

    def _exchange(self, free: int, *more: News) -> Answer:
        news, self._news = [*self._news, *more], []
        answer: Answer = ray.get(self._coordinator.exchange.remote(self._slot, news, free, self._holds))
        self._spoke = time.monotonic()
        # only now is the end of a trial in SQL: until then its checkpoint may be needed, and where this slot is refused
        # by whoever goes on with the trial
        while self._settled:
            settled = self._settled.pop()
            if not answer.refused:
                settled.remove()
        return answer

    def _train(self, run: TrainingFunction, given: Assignment) -> News:
        """One trial from start to end; what to tell of it."""
        store = CheckpointFile(self._work.files.checkpoint(given.number))
        seen = _version(store)

        def send(step: int, metrics: Mapping[str, float]) -> Verdict:
            nonlocal seen
            now = _version(store)
            saved, seen = now != seen, now
            report = Report(given.number, given.attempt, step, metrics, saved)
            # what a checkpoint rests on must be known before it can be gone on from
            if not given.decided and not saved and time.monotonic() - self._spoke < SPOKEN_EVERY:
                self._news.append(report)
                return Verdict.GO_ON
            return self._exchange(0, report).verdicts[-1]

        trial = Trial(given.number, given.seed, send, store)
        self._holds = (given.number,)
        with trial_log(self._work.files.log(given.number), given):
            news = self._outcome(run, trial, given)
        self._holds = ()
        if not isinstance(news, Released):
            self._settled.append(store)
        return news

    def _outcome(self, run: TrainingFunction, trial: Trial, given: Assignment) -> News:
        try:
            ended = run(given.params, trial)
        except Stopped:
            return Released(given.number, given.attempt)
        except Diverged as error:  # the same seed diverges again
            return Crashed(given.number, given.attempt, str(error), retryable=False)
        except Exception as error:
            traceback.print_exc()
            return Crashed(given.number, given.attempt, _one_line(error))
        if trial.verdict is not Verdict.GO_ON:
            return Released(given.number, given.attempt)
        return Finished(given.number, given.attempt, ended.metrics, ended.unread)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: trials keep their own checkpoints, and SQL says what is left to do."""
        del checkpoint_dir
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, as above."""


def _version(store: CheckpointFile) -> int:
    """Changes when a checkpoint is written; 0 when there is none."""
    try:
        return store.path.stat().st_mtime_ns
    except OSError:
        return 0


def _one_line(error: BaseException) -> str:
    text = mask(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__
