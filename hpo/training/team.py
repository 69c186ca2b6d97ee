"""One trial in several processes, as each of them sees it: who it is, and what all of them must agree on.

`ALONE` is the team of one, whose methods do nothing, so that a trial and the loop need no `if`. `Together` is a team
over torch.distributed. This module loads torch only where there is one.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hpo.errors import HpoError, one_line
from hpo.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.function import Ended
    from hpo.training.trial import Trial

R = TypeVar("R")

PATIENCE = 10.0  # seconds for which a worker that raised waits for the others to come to their end too
NEVER = timedelta(days=30)  # a worker that died is heard of by its connection, one that hangs by trial.timeout


class TeamError(HpoError):
    """Something was raised by another worker of the same trial."""


class Apart(BaseException):
    """The workers of a trial have lost each other: no step can be taken together any more.

    No Exception: it is held against the group of workers, not against the trial, unless `reason`, what was raised here,
    turns out to be the cause. `retryable` says of that whether the same could go well another time.
    """

    def __init__(self, reason: str | None, retryable: bool = True) -> None:
        super().__init__(reason, retryable)
        self.reason, self.retryable = reason, retryable


class Team(Protocol):
    """The processes that train one trial.

    rank: 0 is the one that reports and saves. own: the purpose of random numbers that each worker draws for itself.
    """

    rank: int
    size: int
    own: tuple[str | int, ...]

    def same(self, do: Callable[[], R]) -> R:
        """What `do` gives on rank 0, on every rank; nobody else calls it. What it raises there is raised everywhere."""

    def total(self, x: Tensor) -> Tensor:
        """The sum over all ranks."""

    def end(self, error: Exception | None) -> None:
        """Come to the end of a trial together. error: what ended it here.

        Raises on rank 0, where nothing ended it, TeamError with what did elsewhere; and Apart where the others do not
        come, which after an error is told in seconds.
        """


class _Alone:
    rank, size = 0, 1
    own: tuple[str | int, ...] = ()

    def same(self, do: Callable[[], R]) -> R:
        return do()

    def total(self, x: Tensor) -> Tensor:
        return x

    def end(self, error: Exception | None) -> None:
        """There is nobody else."""


ALONE: Team = _Alone()


class Together:
    """The ranks of torch.distributed's default group, which must be there; made once for all trials of a process.

    What is agreed on goes through groups of its own, on the CPU, so that it cannot be taken for a user's collectives.
    """

    def __init__(self) -> None:
        self.rank: int = torch.distributed.get_rank()
        self.size: int = torch.distributed.get_world_size()
        self.own: tuple[str | int, ...] = ("worker", self.rank) if self.rank > 0 else ()
        self._agreed = 0  # how often they did: where it is not alike, a message is on its way that nobody waits for
        self._sent: list[tuple[Any, Tensor]] = []  # what is on its way, with what holds its bytes
        self._words = torch.distributed.new_group(backend="gloo", timeout=NEVER)
        self._ends = torch.distributed.new_group(backend="gloo", timeout=NEVER)

    def same(self, do: Callable[[], R]) -> R:
        """See Team."""
        self._agreed += 1
        if self.rank == 0:
            try:
                found = do()
            except BaseException as error:
                self._tell(None, one_line(error))
                raise
            self._tell(found, None)
            return found
        found, raised = self._hear()
        if raised is not None:
            raise TeamError(f"worker 0: {raised}")
        return found

    def _tell(self, found: Any, raised: str | None) -> None:
        """Send to all without waiting for them: one that never asks is found out at the end of a trial."""
        text = torch.frombuffer(bytearray(pickle.dumps((found, raised))), dtype=torch.uint8)
        for rank in range(1, self.size):
            for part in (torch.tensor([len(text)]), text):
                self._sent.append((torch.distributed.isend(part, rank, group=self._words), part))

    def _hear(self) -> Any:
        length = torch.zeros(1, dtype=torch.int64)
        torch.distributed.recv(length, 0, group=self._words)
        text = torch.empty(int(length), dtype=torch.uint8)
        torch.distributed.recv(text, 0, group=self._words)
        return pickle.loads(text.numpy().tobytes())

    def total(self, x: Tensor) -> Tensor:
        """See Team."""
        x = x.clone()
        torch.distributed.all_reduce(x)
        return x

    def end(self, error: Exception | None) -> None:
        """See Team."""
        began = time.monotonic()
        try:
            self._meet(NEVER if error is None else timedelta(seconds=PATIENCE))
            told: list[Any] = [None] * self.size
            torch.distributed.all_gather_object(told, (_reason(error), self._agreed), group=self._ends)
            if all(agreed == self._agreed for _, agreed in told):
                self._settle()
        except RuntimeError:
            # one that is gone is heard of at once; one that is waited for in vain still trains
            waited = time.monotonic() - began >= PATIENCE
            raise Apart(_late(error) if waited else None) from error
        for rank, (reason, agreed) in enumerate(told):
            if agreed != told[0][1]:
                found = f"worker {rank} reported {'less' if agreed < told[0][1] else 'more'} often than worker 0"
                raise Apart(f"trial.report must be called on every worker alike, {found}", retryable=False)
            if reason is not None and error is None and self.rank == 0:
                raise TeamError(f"worker {rank}: {reason}")

    def _settle(self) -> None:
        for work, _ in self._sent:
            work.wait()
        self._sent.clear()

    def _meet(self, patience: timedelta) -> None:
        """A barrier at which every rank has its own patience; torch's own has only that of rank 0. RuntimeError."""
        here = torch.zeros(1)
        others = range(1, self.size) if self.rank == 0 else [0]
        sent = [torch.distributed.isend(here, 0, group=self._ends)] if self.rank > 0 else []
        for rank in others:
            if not _comes(torch.distributed.irecv(torch.empty(1), rank, group=self._ends), patience):
                raise RuntimeError(f"worker {rank} did not come")
        if self.rank == 0:
            sent = [torch.distributed.isend(here, rank, group=self._ends) for rank in others]
        for work in sent:
            _comes(work, NEVER)


@contextmanager
def group_of_one() -> Iterator[None]:
    """torch.distributed as a loop that was written for several workers expects it, in this process alone."""
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _comes(work: torch.distributed.Work | None, patience: timedelta) -> bool:
    return work is not None and work.wait(patience)


def _reason(error: Exception | None) -> str | None:
    """What is held against the trial; being stopped is not."""
    from hpo.training.trial import Stopped

    return None if error is None or isinstance(error, Stopped) else one_line(error)


def _late(error: Exception | None) -> str | None:
    return _reason(error) or "it left its training and the other workers did not: call trial.report on every worker"


def shared(run: Callable[[Mapping[str, Any], Trial], Ended], team: Team) -> Callable[[Mapping[str, Any], Trial], Ended]:
    """A training function whose calls begin and end on all workers together. Raises what `Team.end` raises, too."""

    def run_together(params: Mapping[str, Any], trial: Trial) -> Ended:
        error: Exception | None = None
        try:
            trial.resume_from  # noqa: B018  # read on rank 0, for all; whoever asks later has it
            ended = run(params, trial)
        except Exception as raised:
            error = raised
        team.end(error)
        if error is not None:
            raise error
        return ended

    return run_together
