"""One configuration trained outside of any sweep: for `hpo train` and `hpo export --verify`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from hpo.errors import UserError
from hpo.schema import check
from hpo.tasks import Task
from hpo.training.by_class import ByClass, measure_by_class
from hpo.training.config import TrainingConfig
from hpo.training.evaluation import evaluate
from hpo.training.function import TaskJob, TrainingJob
from hpo.training.loop import train_task
from hpo.training.paths import with_paths
from hpo.training.reported import task_metrics
from hpo.training.team import group_of_one
from hpo.training.trial import Diverged, Progress, Trial, Verdict
from hpo.training.weights import model_section, save_weights


@dataclass(frozen=True)
class Again:
    """What a training gave: its reports, what it returned, and for a task its network and test metrics.

    unread: the parameters that a user's own loop never looked at.  model: the section that the network was built from.
    by_class: of a task with classes, on the test split, or the validation split where there is none.
    grain: how far one example moves each metric that is a share of examples.
    """

    history: tuple[Progress, ...]
    returned: Mapping[str, float]
    test: Mapping[str, float]
    net: nn.Module | None
    unread: tuple[str, ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    by_class: ByClass | None = None
    grain: Mapping[str, float] = field(default_factory=dict)

    def at(self, step: int | None) -> Mapping[str, float]:
        """All metrics as reported until `step`; None: at the end, what was returned goes before what was reported."""
        found: dict[str, float] = {}
        for progress in self.history:
            if step is None or progress.step <= step:
                found |= progress.metrics
        return {**found, **self.returned} if step is None else found

    def distance(self, other: Again, metric: str, until: int | None) -> float:
        """The furthest that two trainings are apart in `metric`: at a step that both reported, or in the end."""
        mine, theirs = self._curve(metric), other._curve(metric)
        pairs = [(mine[step], theirs[step]) for step in mine.keys() & theirs.keys()]
        ends = self.at(until).get(metric), other.at(until).get(metric)
        apart = [abs(a - b) for a, b in [*pairs, ends] if a is not None and b is not None]
        return max(apart, default=0.0)

    def _curve(self, metric: str) -> dict[int, float]:
        return {one.step: one.metrics[metric] for one in self.history if metric in one.metrics}

    def save_weights(self, path: Path) -> None:
        """The weights and buffers of a task's network as safetensors. UserError for a bad place."""
        assert self.net is not None
        try:
            save_weights(self.net, self.model, path)
        except OSError as error:
            raise UserError(f"--output: {path} cannot be written: {error.strerror}") from None


def train_again(
    job: TrainingJob,
    *,
    params: Mapping[str, Any],
    config: Mapping[str, Any],
    seed: int,
    number: int,
    device: str,
    until: int | None,
    tested: bool = True,
    moved: Literal[-1, 0, 1] = 0,
    workers: int = 1,
) -> Again:
    """Train once with nobody to report to.

    params: for a user's own loop; config: full paths for a task. until: the step whose weights are wanted, of a task.
    A device that this machine has not is replaced by the CPU. tested: whether a task's network is evaluated at the end.
    workers: that trained it before; a loop of the user's that was written for several finds a torch.distributed group,
    of this process alone. moved: a task begins from weights that are one ulp further up or down, for its reports alone;
    one that diverges ends there.
    """
    history: list[Progress] = []

    def send(step: int, metrics: Mapping[str, float]) -> Verdict:
        history.append(Progress(step, dict(metrics)))
        return Verdict.GO_ON

    trial = Trial(number, seed, send)
    place = device if device != "cuda" or torch.cuda.is_available() else "cpu"
    if not isinstance(job, TaskJob):
        with group_of_one() if workers > 1 else nullcontext():
            ended = job.load(place)(params, trial)
        return Again(tuple(history), ended.metrics, {}, None, ended.unread)
    job.load_plugins()
    task = job.make()
    full = job.placed(with_paths(check(TrainingConfig.for_task(task), {}), config))
    if moved:
        with suppress(Diverged):
            train_task(full, task, trial, place, until, partial(move_by_one_ulp, towards=moved * math.inf))
        return Again(tuple(history), {}, {}, None)
    trained = train_task(full, task, trial, place, until)
    if not tested:
        return Again(tuple(history), {}, {}, trained.net, model=model_section(full))
    test = evaluate(trained.net, full, task, "test", place) if task.test is not None else {}
    by_class = measure_by_class(trained.net, task, "test" if test else "val", place)
    return Again(
        tuple(history), {}, test, trained.net, model=model_section(full), by_class=by_class, grain=_grain(task)
    )


@torch.no_grad()
def move_by_one_ulp(net: nn.Module, towards: float) -> None:
    """Make every weight the next number of its type: a change that nobody could call one of the training."""
    for weight in net.parameters():
        if weight.is_floating_point():
            weight.copy_(torch.nextafter(weight, torch.full_like(weight, towards)))


def _grain(task: Task) -> dict[str, float]:
    counted = [name for name, metric in task_metrics(task).items() if metric.counts]
    return {f"{split}_{name}": 1 / math.prod(y.shape) for split, (_, y) in task.splits() for name in counted}
