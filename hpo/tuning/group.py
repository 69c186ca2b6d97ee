"""A slot whose trials are trained by several workers: Ray Train's worker group, started once for all of them.

The slot itself is the driver of the group and computes nothing. It takes no CPU, so that the workers get all of them,
and some memory, since Tune starts no trial that asks for nothing. Its workers lie in a placement group of Ray Train's
own, which Tune does not count: how many slots there may be is for the Searcher to bound (`cluster.fits`).
"""

from __future__ import annotations

import os
import signal
import traceback
from typing import Any

import ray
from ray import tune

from hpo import __version__
from hpo.errors import one_line
from hpo.search.messages import Crashed
from hpo.tuning.guard import leave_with_raylet
from hpo.tuning.slot import SlotWork
from hpo.tuning.slot_place import SlotPlace
from hpo.tuning.worker import Given, WorkerFailed, work_together

DRIVER = {"memory": 256.0 * 1024 * 1024}
"""What the slot itself takes."""

_FOREVER = 30 * 24 * 3600  # seconds; dead workers are heard of, and trial.timeout is for those that hang

# Ray Train reads these in the slot's process, and hands them on to its controller and workers
_QUIET = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # what a trial prints is for its own log
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
}


class GroupSlot(tune.Trainable):
    """Tune's class API: the one `step` is the life of a worker group, which trains until there are no more trials."""

    def setup(self, config: dict[str, Any]) -> None:
        """Make the slot known to the coordinator."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C means
        leave_with_raylet()
        os.environ.update(_QUIET)
        self._slot: str = config["slot"]
        self._work: SlotWork = config["work"]
        self._coordinator = config["coordinator"]
        context = ray.get_runtime_context()
        place = SlotPlace(context.get_node_id(), context.current_actor, __version__)
        ray.get(self._coordinator.enter.remote(self._slot, place))

    def step(self) -> dict[str, Any]:
        """Let the workers train until they are told that all is done.

        Raises what Ray Train raises for workers that died: the slot dies with them, and another takes its place.
        """
        from ray.train import TrainingFailedError

        try:
            self._train()
        except TrainingFailedError as error:
            crashed = _blamed(error)
            if crashed is None:
                raise
            ray.get(self._coordinator.exchange.remote(self._slot, [crashed], 0, []))
        except ray.exceptions.RayError:
            raise
        except Exception as error:  # a fault of ours ends the sweep with its words, not in a loop of dying slots
            traceback.print_exc()
            ray.get(self._coordinator.fail.remote(f"a slot failed: {one_line(error)}"))
        return {"value": 0.0, "done": True}

    def _train(self) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        class Trainer(TorchTrainer):
            """Without the actor that watches over its placement group: see `hpo.tuning.room`."""

            def _create_default_callbacks(self) -> list[Any]:
                found = super()._create_default_callbacks()  # type: ignore[misc]
                return [one for one in found if type(one).__name__ != "PlacementGroupCleanerCallback"]

        resources = self._work.resources
        trainer = Trainer(
            work_together,
            train_loop_config={"given": Given(self._slot, self._work, self._coordinator, __version__)},
            torch_config=TorchConfig(backend="nccl" if resources.gpus else "gloo", timeout_s=_FOREVER),
            scaling_config=ScalingConfig(
                num_workers=resources.workers, use_gpu=resources.gpus > 0, resources_per_worker=resources.as_ray
            ),
            run_config=RunConfig(
                name="workers",
                storage_path=self.logdir,
                failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),  # type: ignore[call-arg]
            ),
        )
        trainer.fit()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: trials keep their own checkpoints, and SQL says what is left to do."""
        del checkpoint_dir
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, as above."""


def _blamed(error: Exception) -> Crashed | None:
    """The trial whose own code is why the group broke; None where a worker died."""
    failures = dict(getattr(error, "worker_failures", {}))
    if not failures or not all(isinstance(one, WorkerFailed) and one.reason for one in failures.values()):
        return None
    rank, first = min(failures.items())
    return Crashed(first.number, first.attempt, f"worker {rank}: {first.reason}", first.retryable)
