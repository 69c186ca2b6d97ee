"""Workers for tests: processes that train together over gloo on this machine, started once and used many times."""

from __future__ import annotations

import functools
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from hpo.tasks import Task
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, Diverged, TrainingConfig, Trial, Verdict, train_task
from hpo.training.team import Team, Together

START_LIMIT = 60.0  # seconds
ANSWER_LIMIT = 60.0


class Workers:
    """Processes with a torch.distributed group, each waiting for what to do next. They end with their parent."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        store = Path(tempfile.mkdtemp(prefix="hpo-team-")) / "store"
        pairs = [context.Pipe() for _ in range(size)]
        self._pipes = [mine for mine, _ in pairs]
        self._processes = [
            context.Process(target=_work, args=(rank, size, str(store), theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pairs)
        ]
        for process in self._processes:
            process.start()

    def run(self, do: Callable[..., Any], *args: Any) -> list[Any]:
        """`do(team, *args)` on every rank at once; what each returned. Raises AssertionError where one raised."""
        for pipe in self._pipes:
            pipe.send((do, args))
        answers = []
        for rank, pipe in enumerate(self._pipes):
            assert pipe.poll(START_LIMIT + ANSWER_LIMIT), f"worker {rank} does not answer"
            found, raised = pipe.recv()
            assert raised is None, f"worker {rank}: {raised}"
            answers.append(found)
        return answers

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.join()


@functools.cache
def workers(size: int = 2) -> Workers:
    """Those of this process; the first call takes seconds."""
    return Workers(size)


def _work(rank: int, size: int, store: str, pipe: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=size)
    team = Together()
    while True:
        do, args = pipe.recv()
        try:
            pipe.send((do(team, *args), None))
        except Exception:
            pipe.send((None, traceback.format_exc()))


def trained_by(
    team: Team,
    config: TrainingConfig,
    make: Callable[[], Task],
    verdicts: Mapping[int, Verdict] | None = None,
    store: Path | None = None,
) -> tuple[list[Mapping[str, float]], dict[str, torch.Tensor] | None]:
    """One training of a task by a team: its reports, and the network's state, None where it diverged."""
    answers = Answers(verdicts)
    file = CheckpointFile(store) if store is not None and team.rank == 0 else None
    trial = Trial(0, 0, answers, file, team=team)
    try:
        run = train_task(config, make(), trial, "cpu")
    except Diverged:
        return [progress.metrics for progress in answers.seen], None
    return [progress.metrics for progress in run.history], run.net.state_dict()


def trained_alone(
    config: TrainingConfig, make: Callable[[], Task]
) -> tuple[list[Mapping[str, float]], dict[str, torch.Tensor]]:
    """The same by one process."""
    run = train_task(config, make(), Answers().trial(), "cpu")
    return [progress.metrics for progress in run.history], run.net.state_dict()
