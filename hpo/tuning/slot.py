"""A slot: one long-lived Tune trial that trains the coordinator's trials one after another.

The training function runs in the slot's main thread; whatever it prints or warns goes to its trial's log file.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray import tune

from hpo import __version__, encryption
from hpo.encryption import Key, Locked
from hpo.errors import HpoError, one_line
from hpo.search.messages import Answer, News
from hpo.search.plan import Rows
from hpo.training.function import TrainingFunction, TrainingJob
from hpo.tuning.cluster import SlotResources
from hpo.tuning.files import TrialFiles
from hpo.tuning.guard import leave_with_raylet
from hpo.tuning.packs import Packs
from hpo.tuning.slot_place import SlotPlace
from hpo.tuning.trainer import Trainer

SLICE = 1.0  # seconds of trials between two results of a slot to Tune: a result costs Tune about 17 ms
MAX_WAIT = 1.0


@dataclass(frozen=True)
class SlotWork:
    """What every slot of a run is given.

    resources: of the slot, or of each worker of it. threads: of torch, for each of them. isolate: one trial, then end.
    pack: how many trials at once, where they can.
    """

    job: TrainingJob
    files: TrialFiles
    device: str
    resources: SlotResources = field(default_factory=SlotResources)
    threads: int = 1
    isolate: bool = False
    pack: Rows = "off"


class Slot(tune.Trainable):
    """Tune's class API: `step` trains whole trials for about a second, and reports done when there are no more."""

    def setup(self, config: dict[str, Any]) -> None:
        """Load the training function once, and make the slot known to the coordinator."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C means
        leave_with_raylet()
        self._slot: str = config["slot"]
        self._work: SlotWork = config["work"]
        self._coordinator = config["coordinator"]
        self._trainer = Trainer(self._work.files, self._exchange)
        self._packs: Packs | None = None
        self._waited = 0.0
        self._taken = 0
        context = ray.get_runtime_context()
        place = SlotPlace(context.get_node_id(), context.current_actor, __version__)
        entered = self._coordinator.enter.remote(self._slot, place)
        self._run = self._load()
        self._take_key(ray.get(entered))

    def _take_key(self, key: Key | None) -> None:
        try:
            encryption.use(key)
        except HpoError as error:  # a node without the package
            ray.get(self._coordinator.fail.remote(f"node {ray.get_runtime_context().get_node_id()[:8]}: {error}"))
            self._run = self._packs = None

    def _load(self) -> TrainingFunction | None:
        import torch

        torch.set_num_threads(self._work.threads)
        job, device, pack = self._work.job, self._work.device, self._work.pack
        try:
            packing = None if pack == "off" else job.packing(device)
            if pack == "off" or packing is None:
                return job.load(device)
        except HpoError as error:
            ray.get(self._coordinator.fail.remote(str(error)))
            return None
        self._packs = Packs(self._trainer, packing, pack)
        return packing.run

    def step(self) -> dict[str, Any]:
        """Train until a slice has passed or nothing is left."""
        try:
            return self._slice()
        except ray.exceptions.RayError:
            raise  # the coordinator is gone, and this slot with it
        except Locked as error:  # its trial is put back: to start it anew would throw away what another key opens
            ray.get(self._coordinator.fail.remote(str(error)))
            return {"value": 0.0, "done": True}
        except Exception as error:  # a fault of ours ends the sweep with its words, not in a loop of dying slots
            traceback.print_exc()
            ray.get(self._coordinator.fail.remote(f"a slot failed: {one_line(error)}"))
            return {"value": 0.0, "done": True}

    def _slice(self) -> dict[str, Any]:
        until = time.monotonic() + SLICE
        while time.monotonic() < until:
            answer = self._packs.round() if self._packs is not None else self._one_by_one()
            if answer.over:
                return {"value": 0.0, "done": True}
            working = bool(answer.assignments or self._trainer.holds)
            self._waited = 0.0 if working else min(MAX_WAIT, self._waited + answer.wait)
            if self._waited:  # sleep(0) would give the core away
                time.sleep(self._waited)
        return {"value": 0.0, "done": False}

    def _one_by_one(self) -> Answer:
        """Train what the coordinator gives now."""
        if self._run is None or (self._work.isolate and self._taken > 0):
            return replace(self._trainer.exchange(0), over=True)
        answer = self._trainer.exchange(1)
        for assignment in answer.assignments:
            self._taken += 1
            self._trainer.train(self._run, assignment)
        return answer

    def _exchange(self, news: Sequence[News], free: int, holds: Sequence[int]) -> Answer:
        answer: Answer = ray.get(self._coordinator.exchange.remote(self._slot, news, free, holds))
        return answer

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: trials keep their own checkpoints, and SQL says what is left to do."""
        del checkpoint_dir
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, as above."""
