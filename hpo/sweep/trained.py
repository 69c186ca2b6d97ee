"""What a sweep trains: a task by name, a user's own task, or a user's own loop; and whether the space fits it.

Checked here without importing torch and without running the user's code: its files are only parsed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic_core import PydanticCustomError

from hpo.errors import UserError, unknown
from hpo.loader import Reference, find, load
from hpo.schema import check
from hpo.search.pruners import Pruner
from hpo.space import Choice, Int, Parameter, Space
from hpo.tasks import tasks
from hpo.training import OwnModelConfig, TrainingConfig, paths, with_paths
from hpo.training.function import OwnLoopJob, TaskJob, TrainingJob
from hpo.training.metrics import metrics


class Goal(Protocol):
    """An objective, as far as what is trained must know it."""

    @property
    def metric(self) -> str: ...


@dataclass(frozen=True)
class Trained:
    """What a trial trains. base: nested, as written. references: the user's code it rests on."""

    base: Mapping[str, Any]
    folder: Path
    references: tuple[Reference, ...]

    steps_are_epochs = True

    @abstractmethod
    def canonical(self) -> dict[str, Any]:
        """Its keys in the canonical form of the sweep."""

    @abstractmethod
    def kind(self, path: str) -> Literal["int", "float"] | None:
        """The type of the number at `path`, None where only the space can say. UserError for no such path."""

    @abstractmethod
    def check(self, space: Space, goals: Sequence[Goal], pruner: Pruner) -> None:
        """Raise UserError when space, objectives or pruner do not fit."""

    @abstractmethod
    def job(self, plugins: tuple[Reference, ...], goals: Sequence[Goal]) -> TrainingJob:
        """What slots are given."""

    @abstractmethod
    def max_resource(self, space: Space) -> int | None:
        """The most steps that a trial reports, None when it is not known."""

    def full_config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The whole configuration of a trial, nested; empty where only the user's function knows it."""
        del params
        return {}

    def parse_space(self, raw: Mapping[str, Any], folder: Path) -> Space:
        """The space as written, with the spaces it uses. Raises UserError naming the parameter."""
        inline = dict(raw)
        used = inline.pop("use", [])
        if not isinstance(used, list | tuple):
            raise UserError(f"space.use: must be a list such as [my_space.py:SPACE], found {used!r}")
        merged: dict[str, Any] = {}
        for text in used:
            shared = load(find(str(text), folder, "space.use"), "space.use", folder)
            if not isinstance(shared, Space):
                raise UserError(f"space.use: {text} must be an hpo.space.Space, found {type(shared).__name__}")
            merged |= shared.to_raw()
        space = Space.parse({**merged, **inline}, self.kind)
        if not space:
            raise UserError("space: has no parameter to search")
        return space


@dataclass(frozen=True)
class TrainedTask(Trained):
    """`task:`; parameters are dotted paths into TrainingConfig."""

    name: str
    options: Mapping[str, Any]
    config: TrainingConfig
    own: bool

    def canonical(self) -> dict[str, Any]:
        """The task with its options."""
        name = str(self.references[0]) if self.own else self.name
        return {"task": {"name": name, **self.options}}

    def kind(self, path: str) -> Literal["int", "float"] | None:
        """From the field at the path."""
        found = paths(type(self.config)).find(path, f"space.{path}")
        if found.set_by is not None:
            raise UserError(f"space.{path}: is set by the sweep's top-level {found.set_by}; it cannot be searched")
        return found.kind if found.kind in ("int", "float") else None  # type: ignore[return-value]

    def check(self, space: Space, goals: Sequence[Goal], pruner: Pruner) -> None:
        """Every corner of the space makes a valid config; objectives are metrics that exist."""
        pruner.check(steps_are_epochs=True, objectives=len(goals))
        known = ["train_loss", "val_loss", *(f"val_{name}" for name in metrics)]
        for goal in goals:
            if goal.metric not in known:
                raise unknown("objective.metric", "metric", goal.metric, known)
        for parameter in space.describe():
            for value, params in corners(space, parameter):
                try:
                    with_paths(self.config, params)
                except UserError as error:
                    raise UserError(f"space.{parameter.path}: {value!r} cannot be used: {error}") from None

    def job(self, plugins: tuple[Reference, ...], goals: Sequence[Goal]) -> TrainingJob:
        """The task by name or reference."""
        return TaskJob(
            base=self.base,
            folder=str(self.folder),
            plugins=plugins,
            name=None if self.own else self.name,
            reference=self.references[0] if self.own else None,
            options=self.options,
            metrics=tuple(goal.metric for goal in goals),
        )

    def full_config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Every field of the TrainingConfig, the task's default loss included."""
        return with_paths(self.config, params).model_dump(mode="json")

    def max_resource(self, space: Space) -> int | None:
        """Epochs; the highest when they are searched."""
        domain = space.parameters().get("epochs")
        if isinstance(domain, Int):
            return domain.high
        if isinstance(domain, Choice):
            return max(int(str(choice)) for choice in domain.choices)
        return self.config.epochs


@dataclass(frozen=True)
class TrainedLoop(Trained):
    """`train:`; parameters are whatever the function reads."""

    steps_are_epochs = False

    def canonical(self) -> dict[str, Any]:
        """The function, absolute."""
        return {"train": str(self.references[0])}

    def kind(self, path: str) -> Literal["int", "float"] | None:
        """Only the space can say."""
        del path
        return None

    def check(self, space: Space, goals: Sequence[Goal], pruner: Pruner) -> None:
        """No parameter may stand where base has a section, or below one of its values."""
        from hpo.training import TrackedConfig

        pruner.check(steps_are_epochs=False, objectives=len(goals))
        for parameter in space.describe():
            for _, params in corners(space, parameter):
                TrackedConfig(self.base, params)

    def job(self, plugins: tuple[Reference, ...], goals: Sequence[Goal]) -> TrainingJob:
        """The user's function."""
        del goals
        return OwnLoopJob(self.base, str(self.folder), plugins, self.references[0])

    def max_resource(self, space: Space) -> int | None:
        """Not known: the function reports the steps it likes."""
        del space
        return None


def trained_by(
    task: str | Mapping[str, Any] | None, train: str | None, base: Mapping[str, Any], folder: Path
) -> Trained:
    """What the keys `task` or `train` name. Raises UserError for what does not exist or does not fit `base`."""
    if train is not None:
        return TrainedLoop(base, folder, (find(train, folder, "train"),))
    options = dict(task) if isinstance(task, Mapping) else {"name": task}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"task: needs a name, as in  task: {{name: digits}}  (allowed: {', '.join(tasks)})")
    own = ":" in name
    references = (find(name, folder, "task"),) if own else ()
    if not own:
        _check_task(name, options)
    config_type: type[TrainingConfig] = OwnModelConfig if own else TrainingConfig
    for path, found in paths(config_type).items():
        if found.set_by is not None and path.split(".")[0] in base:
            raise UserError(f"base.{path}: is set by the sweep's top-level {found.set_by}; write it there")
    return TrainedTask(base, folder, references, name, options, check(config_type, base, "base"), own)


def _check_task(name: str, options: Mapping[str, Any]) -> None:
    try:
        tasks.parse({"name": name, **options})
    except PydanticCustomError as error:
        raise UserError(f"task: {error.message()}") from None


def corners(space: Space, parameter: Parameter) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Points of the space in which `parameter` takes each of its extreme values and all else its first one."""
    domain = parameter.domain
    values = domain.choices if isinstance(domain, Choice) else (domain.low, domain.high)
    for chain in parameter.when or ((),):
        for value in dict.fromkeys(values):
            yield value, space.suggest(_First({**dict(chain), parameter.path: value}))


class _First:
    """Suggests fixed values where it has them, else the first or lowest."""

    def __init__(self, fixed: Mapping[str, Any]) -> None:
        self._fixed = fixed

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        del high, step, log
        return float(self._fixed.get(name, low))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        del high, step, log
        return int(self._fixed.get(name, low))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._fixed.get(name, choices[0])
