"""`Trial`: the handle that a training function gets, and the two ways in which a training is ended from outside it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, UserError
from hpo.training.checkpoint import EVERY
from hpo.training.team import ALONE, Team

if TYPE_CHECKING:
    from hpo.training.checkpoint import CheckpointFile, TrialCheckpoints

_LONGEST_WAIT = 6  # doublings of the time between saves while a place fails
_AT_ONCE = 0.1  # the share of the time between reports in which nothing is trained


class Verdict(StrEnum):
    """The answer to a report.

    GO_ON: train on.  PRUNED: leave, the trial has its result.  PUT_BACK: save the state at this step, then leave; the
    trial will go on later.  REFUSED: leave at once and save nothing, another process has this trial.
    """

    GO_ON = "go_on"
    PRUNED = "pruned"
    PUT_BACK = "put_back"
    REFUSED = "refused"


@dataclass(frozen=True)
class Progress:
    """One report."""

    step: int
    metrics: Mapping[str, float]


class Stopped(Exception):
    """Leaves a training function whose report was not answered with GO_ON; let it pass."""

    def __init__(self, verdict: Verdict, step: int) -> None:
        super().__init__(verdict, step)
        self.verdict = verdict
        self.step = step

    def __str__(self) -> str:
        return f"{self.verdict} at step {self.step}"


class Diverged(HpoError):
    """A loss or metric became NaN or infinite."""

    def __init__(self, step: int, name: str, value: float, detail: str = "") -> None:
        super().__init__(f"diverged: {name} is {value} at step {step}{detail}")
        self.step, self.name, self.value, self.detail = step, name, value, detail

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self.name, self.value, self.detail)


Send = Callable[[int, Mapping[str, float]], Verdict]


class Trial:
    """One trial, as its training function sees it.

    number: the study's number of it.  seed: hangs on the study's seed and the number; the same at every attempt.
    verdict: the answer to the last report.  keeps: whether its last checkpoint may be kept after its end, so that a
    state worth keeping is one of the end.
    """

    def __init__(
        self,
        number: int,
        seed: int,
        send: Send,
        store: CheckpointFile | TrialCheckpoints | None = None,
        checkpoint_every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
        keeps: bool = False,
        team: Team = ALONE,
    ) -> None:
        """send: delivers a report and returns its verdict.  store: None keeps no checkpoints.
        checkpoint_every: seconds from one save to the next that is due.  team: of the processes that train it; on those
        of a rank above 0 nothing is sent or kept.
        """
        self.number = number
        self.seed = seed
        self.keeps = keeps
        self.team = team
        self.verdict = Verdict.GO_ON
        self.last: Progress | None = None
        self._send = send
        self._store = store
        self._every = checkpoint_every
        self._clock = clock
        self._saved_at = self._told_at = clock()
        self._between = 0.0  # seconds from one report to the next
        self._failures = 0

    def go_on(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Report `metrics` after `step` steps; whether to train on. Reporting a step again is harmless.

        Raises Diverged for NaN or infinity, UserError for a step that does not grow or a value that is no number.
        """
        if self.verdict is not Verdict.GO_ON:
            return False
        self.verdict = Verdict(self.team.same(lambda: self._ask(step, metrics)))
        return self.verdict is Verdict.GO_ON

    def _ask(self, step: int, metrics: Mapping[str, float]) -> str:
        progress = checked(step, metrics)
        if self.last is not None and step <= self.last.step:
            raise UserError(f"trial.report: steps must grow, found {step} after {self.last.step}")
        self.last = progress
        self._between = self._clock() - self._told_at
        verdict = Verdict(self._send(progress.step, progress.metrics))
        self._told_at = self._clock()
        if self._store is not None and verdict is not Verdict.REFUSED:
            self._store.settle()
        return verdict.value

    def report(self, step: int, **metrics: float) -> None:
        """Report metrics by keyword: `trial.report(epoch, val_loss=..., val_accuracy=...)`.

        Raises Stopped when training must end here, and what `go_on` raises.
        """
        if not self.go_on(step, metrics):
            raise Stopped(self.verdict, step)

    @property
    def rank(self) -> int:
        """Of this process among those that train the trial; 0 reports and saves."""
        return self.team.rank

    @property
    def workers(self) -> int:
        """How many processes train the trial."""
        return self.team.size

    @property
    def checkpoint_due(self) -> bool:
        """Whether there is a place for checkpoints and the time since the last one has passed.

        A place that fails is left alone for twice as long each time: one that does not answer may cost a minute a try.
        """
        wait = self._every * 2 ** min(self._failures, _LONGEST_WAIT)
        return self._store is not None and self._clock() - self._saved_at >= wait

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Save `state`, in place of the one before: tensors, numbers, text, and lists and mappings of them.

        A state that holds more than was reported counts from the next report (or checkpoint) on: a trial that went on
        from it now, after its process died, would leave a report out. Right after a report it counts at once. A place
        that cannot be written (a full disk) costs the checkpoint and a line in the log, not the trial. Does nothing
        without a place, once the trial has its result, and shortly after a save that failed. Raises UserError for
        things that could not be loaded again safely.
        """
        if self._store is None or self.verdict in (Verdict.PRUNED, Verdict.REFUSED):
            return
        if self._failures and self.verdict is Verdict.GO_ON and not self.checkpoint_due:
            return
        written = self._store.save(state, self.last.step if self.last is not None else 0, hold=self._is_ahead())
        self._failures = 0 if written else self._failures + 1
        self._saved_at = self._clock()

    def _is_ahead(self) -> bool:
        """Whether something was trained since the last report, as the time that has passed tells."""
        if self.last is None:
            return True
        return self.verdict is Verdict.GO_ON and self._clock() - self._told_at > _AT_ONCE * self._between

    @cached_property
    def resume_from(self) -> Mapping[str, Any] | None:
        """The state saved last by an earlier attempt, its tensors on the CPU; None: start at the beginning."""
        return self.team.same(lambda: self._store.load() if self._store is not None else None)


def checked(step: int, metrics: Mapping[str, Any]) -> Progress:
    """A report whose step is a whole number and whose values are finite floats.

    Raises Diverged for NaN or infinity, UserError for anything else. 0-D tensors and NumPy numbers become floats.
    """
    if isinstance(step, bool) or not hasattr(step, "__index__") or step < 0:
        raise UserError(f"trial.report: the step must be a whole number from 0, found {step!r}")
    if not metrics:
        raise UserError("trial.report: no metric given; name them by keyword, such as val_loss=0.3")
    values: dict[str, float] = {}
    for name, value in metrics.items():
        try:
            values[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise UserError(f"trial.report: {name} must be one number, found {type(value).__name__}") from None
        if not math.isfinite(values[str(name)]):
            raise Diverged(int(step), str(name), values[str(name)])
    return Progress(int(step), values)
