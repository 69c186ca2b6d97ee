"""What each worker of a slot does that trains its trials together: the train loop of Ray Train, over many trials.

Rank 0 speaks with the coordinator as any slot does, and tells the others what it was told: which trial is next, and
whether it goes on. Only it saves.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from hpo import __version__, encryption
from hpo.encryption import Locked
from hpo.errors import HpoError
from hpo.search.messages import Answer, Assignment, News
from hpo.training import Stopped, Trial, Verdict
from hpo.training.function import TrainingFunction
from hpo.training.team import Apart, Team, Together, shared
from hpo.tuning.guard import leave_with_raylet
from hpo.tuning.room import note_room
from hpo.tuning.slot import MAX_WAIT, SlotWork
from hpo.tuning.trainer import Trainer
from hpo.tuning.trial_log import pack_log


@dataclass(frozen=True)
class Given:
    """What a worker is given. slot: whose it is. version: of hpo, where the slot runs."""

    slot: str
    work: SlotWork
    coordinator: Any
    version: str


class WorkerFailed(HpoError):
    """This worker has lost the others in a trial. reason: what it raised there, None where it was they who died."""

    def __init__(self, number: int, attempt: int, reason: str | None, retryable: bool = True) -> None:
        super().__init__(f"trial {number}: {reason or 'the other workers are gone'}")
        self.number, self.attempt, self.reason, self.retryable = number, attempt, reason, retryable

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.number, self.attempt, self.reason, self.retryable)


def work_together(config: dict[str, Any]) -> None:
    """Train the coordinator's trials, one after another, until there are no more.

    Raises WorkerFailed where the workers of a trial have lost each other.
    """
    leave_with_raylet()
    given: Given = config["given"]
    note_room(given.slot)
    team = Together()
    run = _loaded(given, team)
    if team.rank == 0:
        _lead(given, team, run)
    else:
        _follow(given, team, run)


def _loaded(given: Given, team: Team) -> TrainingFunction | None:
    """The training function, as a call of all workers together; None, and the sweep ends, where one cannot load it."""
    import torch
    from ray.train.torch import get_device

    torch.set_num_threads(given.work.threads)
    run = None
    try:
        if given.version != __version__:
            raise HpoError(f"a worker's node has hpo {__version__}, its slot's {given.version}; install one version")
        encryption.use(ray.get(given.coordinator.key.remote()))
        device = str(get_device()) if given.work.device != "cpu" else "cpu"
        run = shared(given.work.job.load(device), team)
    except HpoError as error:
        ray.get(given.coordinator.fail.remote(str(error)))
    missing = torch.tensor(0 if run is not None else 1, device=get_device())
    return None if team.total(missing) else run


def _lead(given: Given, team: Team, run: TrainingFunction | None) -> None:
    def exchange(news: Sequence[News], free: int, holds: Sequence[int]) -> Answer:
        answer: Answer = ray.get(given.coordinator.exchange.remote(given.slot, news, free, holds))
        return answer

    trainer = Trainer(given.work.files, exchange, team)
    waited, taken = 0.0, 0
    while True:
        last = run is None or (given.work.isolate and taken > 0)
        answer = trainer.exchange(0 if last else 1)
        try:
            for trial in answer.assignments:
                taken += 1
                _train_one(trainer, team, run, trial)
        except Locked as error:  # its trial is put back: to start it anew would throw away what another key opens
            ray.get(given.coordinator.fail.remote(str(error)))
            break
        if answer.over or last:
            break
        waited = 0.0 if answer.assignments else min(MAX_WAIT, waited + answer.wait)
        if waited:
            time.sleep(waited)
    team.same(lambda: None)


def _train_one(trainer: Trainer, team: Team, run: TrainingFunction | None, trial: Assignment) -> None:
    assert run is not None
    team.same(lambda: trial)
    try:
        trainer.train(run, trial)
    except Apart as apart:
        raise WorkerFailed(trial.number, trial.attempt, apart.reason, apart.retryable) from None


def _follow(given: Given, team: Team, run: TrainingFunction | None) -> None:
    while True:
        trial: Assignment | None = team.same(_untold)
        if trial is None or run is None:
            return
        # into the same log; rank 0 has written its head
        with pack_log(lambda trial=trial: [given.work.files.log(trial.number)]):  # type: ignore[misc]
            _help(team, run, trial)


def _help(team: Team, run: TrainingFunction, trial: Assignment) -> None:
    """Train along. What becomes of the trial is for rank 0 to say."""
    try:
        run(trial.params, Trial(trial.number, trial.seed, _unsent, team=team))
    except Stopped:
        pass
    except Apart as apart:
        traceback.print_exc()
        raise WorkerFailed(trial.number, trial.attempt, apart.reason, apart.retryable) from None
    except Exception:
        traceback.print_exc()


def _untold() -> Assignment | None:
    raise AssertionError("only rank 0 is asked")


def _unsent(step: int, metrics: Mapping[str, float]) -> Verdict:  # noqa: ARG001
    raise AssertionError("only rank 0 reports")
