"""The shared training function: a task or a user's own loop, made callable by any process from plain data.

A job travels to slots and lies behind exports; `load` imports the user's code once and gives `run(params, trial)`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import UserError, unknown
from hpo.loader import Reference, here, load, run_file
from hpo.schema import check
from hpo.tasks import Task, tasks
from hpo.training.config import TrainingConfig
from hpo.training.metrics import metrics
from hpo.training.paths import with_paths
from hpo.training.shape import Shape, shape_of
from hpo.training.tracked import TrackedConfig
from hpo.training.trial import Trial, checked

if TYPE_CHECKING:
    from torch import nn

    from hpo.training.by_class import ByClass
    from hpo.training.packed import Member, Pack


@dataclass(frozen=True)
class Ended:
    """A training that came to its end. metrics: what the function returned; unread: parameters it never looked at.

    by_class: measures a task's network on the validation split, where there are classes.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    by_class: Callable[[], ByClass | None] | None = None


TrainingFunction = Callable[[Mapping[str, Any], Trial], Ended]


@dataclass(frozen=True)
class TrainingJob:
    """What is trained, as data. base: what is not searched. folder: where the user's modules are looked for."""

    base: Mapping[str, Any]
    folder: str
    plugins: tuple[Reference, ...] = ()

    @abstractmethod
    def load(self, device: str) -> TrainingFunction:
        """Import what is needed; UserError with one sentence when the user's code cannot be used.

        device: "cpu" or "cuda", what a task trains on; a user's own loop chooses for itself.
        """

    def packing(self, device: str) -> Packing | None:
        """The same for trials that may train together; None where each trains by itself, as the user's own loops do."""
        del device
        return None

    def load_plugins(self) -> None:
        """Register the entries of the user's own files."""
        for plugin in self.plugins:
            run_file(Path(here(plugin, Path(self.folder)).source), "plugins")


@dataclass(frozen=True)
class TaskJob(TrainingJob):
    """A registered task (`name`) or a user's function that makes one (`reference`), with its options."""

    name: str | None = None
    reference: Reference | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    bounded: tuple[str, ...] = ()

    def make(self) -> Task:
        """The task itself. Raises UserError for a function that raises or returns something else."""
        if self.reference is None:
            entry = tasks.parse({"name": self.name, **self.options}).placed(Path(self.folder))
            return with_objectives(entry.make(), (*self.metrics, *self.bounded))
        function = load(here(self.reference, Path(self.folder)), "task", Path(self.folder))
        try:
            task = function(**self.options)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"task: {self.reference} raised {type(error).__name__}: {error}") from error
        if not isinstance(task, Task):
            raise UserError(f"task: {self.reference} must return an hpo.Task, returned {type(task).__name__}")
        return with_objectives(task, (*self.metrics, *self.bounded))

    def load(self, device: str) -> TrainingFunction:
        """The loop of `hpo.training.loop` on this task."""
        return self.packing(device).run

    def packing(self, device: str) -> Packing:
        """See TrainingJob. Raises what `load` raises."""
        self.load_plugins()
        task = self.make()
        return Packing(self, task, self.config_for(task), device)

    def placed(self, config: TrainingConfig) -> TrainingConfig:
        """`config` with the files it names looked up from the folder. Raises UserError for one that is not there."""
        return config.model_copy(update={"loss": config.loss.placed(Path(self.folder))})

    def config_for(self, task: Task) -> TrainingConfig:
        """The base configuration of this task. Raises UserError for what does not fit, objectives included."""
        from hpo.training.reported import metric_names

        reported = metric_names(task, private=True)  # whether every trial is was seen when the sweep was checked
        for key, asked in (("objective.metric", self.metrics), ("constraints", self.bounded)):
            for metric in asked:
                if metric not in reported:
                    raise unknown(key, "metric of this task", metric, reported)
        return check(TrainingConfig.for_task(task), self.base, "base")


@dataclass(frozen=True)
class Packing:
    """A task whose trials train one by one (`run`) or many at once (`start`)."""

    job: TaskJob
    task: Task
    base: TrainingConfig
    device: str

    def config(self, params: Mapping[str, Any], seed: int) -> TrainingConfig:
        """The full config of a trial. Raises UserError for parameters that do not fit it."""
        return self.job.placed(with_paths(self.base, {**params, "seed": seed}))

    def run(self, params: Mapping[str, Any], trial: Trial) -> Ended:
        """Train one trial by itself; a TrainingFunction."""
        from hpo.training.loop import train_task

        trained = train_task(self.config(params, trial.seed), self.task, trial, self.device)
        return self._ended(params, trained.unread, trained.net)

    def ended(self, params: Mapping[str, Any], member: Member) -> Ended:
        """The same of a member that has not left its pack."""
        return self._ended(params, member.run.unread, member.network())

    def _ended(self, params: Mapping[str, Any], unread: Sequence[str], net: nn.Module) -> Ended:
        from hpo.training.by_class import measure_by_class

        own = tuple(path for path in unread if path in params)
        return Ended(unread=own, by_class=partial(measure_by_class, net, self.task, "val", self.device))

    def shape(self, config: TrainingConfig) -> Shape:
        """What the members of a pack with this config agree on. Raises Unpackable."""
        return shape_of(config)

    def start(self, config: TrainingConfig) -> Pack:
        """An empty pack for configs of this one's shape. Raises Unpackable."""
        from hpo.training.packed import Pack

        return Pack(self.task, config, self.device)


def with_objectives(task: Task, objectives: Sequence[str]) -> Task:
    """The task with what is searched for among its metrics: `val_roc_auc` needs no change of a task without it.

    Raises UserError for a metric that does not fit the task's targets.
    """
    from hpo.training.reported import metric_names

    reported = metric_names(task)
    named = (name.removeprefix("val_") for name in objectives if name not in reported and name.startswith("val_"))
    more = [name for name in named if name in metrics.entries]
    if not more:
        return task
    wider = replace(task, metrics=(*task.metrics, *more))
    try:
        metric_names(wider)
    except UserError as error:
        raise UserError(str(error).replace("task.metrics", "objective.metric", 1)) from None
    return wider


@dataclass(frozen=True)
class OwnLoopJob(TrainingJob):
    """A user's own `def train(config, trial)`."""

    reference: Reference | None = None

    def load(self, device: str) -> TrainingFunction:
        """The user's function, given a config that knows what was read."""
        from hpo.training.randomness import seed_globals

        assert self.reference is not None
        self.load_plugins()
        function = load(here(self.reference, Path(self.folder)), "train", Path(self.folder))
        if not callable(function):
            raise UserError(f"train: {self.reference} must be a function train(config, trial)")

        def run(params: Mapping[str, Any], trial: Trial) -> Ended:
            seed_globals(trial.seed, cuda=device.startswith("cuda"))  # so a plain script is reproducible as it is
            config = TrackedConfig(self.base, params)
            returned = function(config, trial)
            return Ended(_returned(returned, trial), tuple(config.unread(params)))

        return run


def _returned(returned: object, trial: Trial) -> Mapping[str, float]:
    """What a user's function returned, as its last report."""
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise UserError(
            f"train: must return a mapping of final metrics or nothing, returned {type(returned).__name__}",
            hint='return {"val_loss": value}',
        )
    step = trial.last.step if trial.last is not None else 0
    return checked(step, returned).metrics if returned else {}
