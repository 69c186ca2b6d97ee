"""What a sweep trains: a task by name, a user's own task, or a user's own loop; and whether the space fits it.

Checked here without importing torch and without running the user's code: its files are only parsed.
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from hpo.errors import UserError, unknown
from hpo.loader import Reference, digest, find, load
from hpo.schema import check, shown
from hpo.search.pruners import Pruner
from hpo.space import Choice, Int, Space
from hpo.space.reader import parse_ties
from hpo.space.stored import ON, names
from hpo.space.tree import KEYS
from hpo.sweep.corners import corners, corners_of_section
from hpo.sweep.renaming import renamed
from hpo.tasks import tasks
from hpo.tasks.content import digest_of
from hpo.training import OwnModelConfig, TrainingConfig, paths, with_paths
from hpo.training import Path as ConfigPath
from hpo.training.config import registry_of
from hpo.training.function import OwnLoopJob, TaskJob, TrainingJob
from hpo.training.metrics import metrics
from hpo.training.over_time import check_steps, targets
from hpo.training.paths import Paths, canonical
from hpo.training.privacy import EPSILON, check_point
from hpo.training.sections import STRENGTHS
from hpo.training.shape import MEMBERS_OWN, zero_is_a_number
from hpo.training.shard import check_shared


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
    def check(self, space: Space, goals: Sequence[Goal], pruner: Pruner, bounds: Sequence[Goal] = ()) -> None:
        """Raise UserError when space, objectives, pruner or the bounds of its constraints do not fit."""

    @abstractmethod
    def job(self, plugins: tuple[Reference, ...], goals: Sequence[Goal], bounds: Sequence[Goal] = ()) -> TrainingJob:
        """What slots are given."""

    @abstractmethod
    def max_resource(self, space: Space) -> int | None:
        """The most steps that a trial reports, None when it is not known."""

    def files(self, space: Space) -> set[Path]:
        """The files that a trial loads besides code."""
        del space
        return set()

    def check_shared(self, space: Space) -> None:
        """Raise UserError for what several workers cannot train together; of a user's own loop nothing is known."""
        del space

    def structural(self, space: Space) -> frozenset[str]:
        """The parameters on which trials of one pack have to agree; none where there are no packs."""
        del space
        return frozenset()

    def full_config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The whole configuration of these settings, nested; empty where only the user's function knows it."""
        del params
        return {}

    def parse_space(self, raw: Mapping[str, Any], folder: Path) -> Space:
        """The space as written, laid over the spaces it uses. Raises UserError naming the parameter."""
        inline = {key: value for key, value in raw.items() if key not in KEYS}
        used = raw.get("use") or []
        if not isinstance(used, list | tuple):
            raise UserError(f"space.use: must be a list such as [my_space.py:SPACE], found {shown(used)}")
        # all are looked for before one is executed
        references = [find(text, folder, "space.use") for text in used]
        space = Space()
        for reference in references:
            shared = load(reference, "space.use", folder)
            if not isinstance(shared, Space):
                raise UserError(f"space.use: {reference} must be an hpo.space.Space, found {type(shared).__name__}")
            space = space.laid_under(shared, shared.ties)
        own, ties = Space.parse(inline, self.kind), parse_ties(raw.get("tie") or {}, self.kind, "space")
        space = Space.parse(space.to_raw(), self.kind).laid_under(own, ties)
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
    examples: int | None = None

    def canonical(self) -> dict[str, Any]:
        """The task with all its options; those of a user's function as they were given."""
        if self.own:
            return {"task": {"name": str(self.references[0]), **self.options}}
        return {"task": tasks.parse({"name": self.name, **self.options}).model_dump(mode="json")}

    def kind(self, path: str) -> Literal["int", "float"] | None:
        """From the field at the path."""
        found = self._find(path)
        if found.kind in ("str", "bool"):
            listed = " | ".join(map(str, found.choices or ())) or {"bool": "true | false"}.get(found.kind, "text")
            raise UserError(f"space.{path}: is no number, write choices: [...] ({listed})")
        return found.kind if found.kind in ("int", "float") else None

    def parse_space(self, raw: Mapping[str, Any], folder: Path) -> Space:
        """As for every sweep, with each parameter under its canonical path, which is its name for ever."""
        return renamed(super().parse_space(raw, folder), self._name)

    def check(self, space: Space, goals: Sequence[Goal], pruner: Pruner, bounds: Sequence[Goal] = ()) -> None:
        """Every corner of the space makes a valid config; objectives are metrics that exist.

        A user's own task may report others, by labels that only making it can tell.
        """
        known = ["train_loss", "val_loss", *(f"val_{name}" for name in metrics), EPSILON]
        wanted = [("objective.metric" if len(goals) == 1 else f"objectives.{i}.metric", g) for i, g in enumerate(goals)]
        wanted += [(f"constraints.{i}", bound) for i, bound in enumerate(bounds)]
        for key, goal in wanted:
            labelled = self.own and not difflib.get_close_matches(goal.metric, known, 1, 0.9)
            if goal.metric not in known and not (labelled and goal.metric.startswith("val_")):
                raise unknown(key, "metric", goal.metric, known)
        private = any(path.startswith("privacy.") for path in (*space.parameters(), *space.ties))
        asks = next((f"{key}: {goal.metric}" for key, goal in wanted if goal.metric == EPSILON), "")
        for path, value, params in corners(space):
            self._check_sections(space, params)
            try:
                config = with_paths(self.config, params, "space")
            except UserError as error:
                text = str(error).removeprefix("space.")
                found = text.partition(":")[0]
                if found in space.ties:
                    raise UserError(f"space.tie.{text}, from {space.ties[found].text!r}") from None
                if found in params:
                    raise
                raise UserError(f"space.{path}: {value!r} cannot be used: {text}") from None
            self._check_steps(config, params)
            self._check_files(config, params)
            point = f"space.{path}: {value!r}" if private else asks
            check_point(config, point, [goal.metric for _, goal in wanted])
        pruner.check(steps_are_epochs=True, objectives=len(goals), max_resource=self.max_resource(space))

    def _check_steps(self, config: TrainingConfig, params: Mapping[str, Any]) -> None:
        """A batch, warmup and milestones lie inside the run; checked where the number of examples is known."""
        if self.examples is None:
            return
        try:
            check_steps(config, config.steps_of(self.examples) * config.epochs)
        except UserError as error:
            place = "space" if str(error).partition(":")[0] in params else "base"
            raise UserError(f"{place}.{error}") from None

    def _check_files(self, config: TrainingConfig, params: Mapping[str, Any]) -> None:
        try:
            config.loss.placed(self.folder)
        except UserError as error:
            place = "space" if str(error).partition(":")[0] in params else "base"
            raise UserError(f"{place}.{error}") from None

    def _find(self, path: str, known: Paths | None = None) -> ConfigPath:
        found = (known or paths(type(self.config))).find(self._name(path), f"space.{path}")
        if found.set_by is not None:
            raise UserError(f"space.{path}: is set by the sweep's top-level {found.set_by}; it cannot be searched")
        if found.kind in ("list", "mapping"):
            raise UserError(f"space.{path}: is a {found.kind}, which cannot be searched; set it in base")
        return found

    def _name(self, path: str) -> str:
        """The path's one name: `schedule` chooses `schedule.name`."""
        return f"{path}.name" if registry_of(type(self.config), path) is not None else canonical(path)

    def _check_sections(self, space: Space, params: Mapping[str, Any]) -> None:
        """No parameter of an entry beside a choice, or a base, of an entry that does not have it."""
        known = paths(type(self.config))
        for path in params:
            section, _, field = path.partition(".")
            registry, entries = registry_of(type(self.config), section), self._find(path, known).entries
            if registry is None or not entries:
                continue
            key = f"{section}.name"
            name = params.get(key, getattr(self.config, section).name)
            if name in registry.entries and name not in entries:
                searched = key in space.parameters()
                place = f"write it below a choice of {key}" if searched else f"set base.{key} to one"
                raise UserError(
                    f"space.{path}: {registry.noun} {name!r} has no {field}; {place} that has it ({', '.join(entries)})"
                )

    def job(self, plugins: tuple[Reference, ...], goals: Sequence[Goal], bounds: Sequence[Goal] = ()) -> TrainingJob:
        """The task by name or reference."""
        return TaskJob(
            base=self.base,
            folder=str(self.folder),
            plugins=plugins,
            name=None if self.own else self.name,
            reference=self.references[0] if self.own else None,
            options=self.options,
            metrics=tuple(goal.metric for goal in goals),
            bounded=tuple(bound.metric for bound in bounds),
        )

    def files(self, space: Space) -> set[Path]:
        """What the losses of the base and of the space's corners rest on."""
        searched = corners_of_section(space, "loss")
        return {file for params in ({}, *searched) for file in with_paths(self.config, params).loss.files(self.folder)}

    def check_shared(self, space: Space) -> None:
        """At every corner of the sections that it hangs on."""
        for section in ("privacy", "compile"):
            for params in corners_of_section(space, section):
                check_shared(with_paths(self.config, params))

    def structural(self, space: Space) -> frozenset[str]:
        """All that is no number of the step, nor of its schedules: `shape_of` then decides for each trial."""
        searched = space.parameters()
        shaping = [path for path in searched if not self._is_members_own(path)]
        for path, tie in reversed(list(space.ties.items())):  # what follows from others is of the shape when they are
            if path in shaping or not self._is_members_own(path):
                shaping += tie.paths
        own = {name for path in shaping if path in searched for name in names(path, searched[path])}
        switches = {f"{path}.{ON}" for path, domain in searched.items() if domain.zero and not zero_is_a_number(path)}
        return frozenset(own | switches)

    def _is_members_own(self, path: str) -> bool:
        section, *below = path.split(".")
        if section in MEMBERS_OWN:
            return True
        if section in STRENGTHS:
            return len(below) == 1 and (path in targets() or self._find(path).kind == "float")
        return section in ("optimizer", "loss") and self._find(path).kind == "float"

    def full_config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Every field of the TrainingConfig; without a loss that nobody chose, which leaves it to the task's data."""
        found = with_paths(self.config, params)
        usual = TrainingConfig.model_fields["loss"].get_default(call_default_factory=True)
        chosen = any(path.partition(".")[0] == "loss" for path in (*self.base, *params)) or found.loss != usual
        return found.model_dump(mode="json", exclude=None if chosen else {"loss"})

    def max_resource(self, space: Space) -> int | None:
        """Epochs; the highest when they are searched or tied."""
        if "epochs" in space.ties:
            return max(int(settings.get("epochs", self.config.epochs)) for _, _, settings in corners(space))
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

    def check(self, space: Space, goals: Sequence[Goal], pruner: Pruner, bounds: Sequence[Goal] = ()) -> None:
        """No parameter may stand where base has a section, or below one of its values."""
        from hpo.training import TrackedConfig

        for path, _, params in corners(space):
            try:
                TrackedConfig(self.base, params)
            except UserError as error:
                raise UserError(f"space.{path}: does not fit base: {error}") from None
        del bounds  # its reports are its own
        pruner.check(steps_are_epochs=False, objectives=len(goals))

    def job(self, plugins: tuple[Reference, ...], goals: Sequence[Goal], bounds: Sequence[Goal] = ()) -> TrainingJob:
        """The user's function."""
        del goals, bounds
        return OwnLoopJob(self.base, str(self.folder), plugins, self.references[0])

    def max_resource(self, space: Space) -> int | None:
        """Not known: the function reports the steps it likes."""
        del space
        return None


def find_code(task: str | Mapping[str, Any] | None, train: str | None, folder: Path) -> Reference | None:
    """The user's own code that `task` or `train` names, None for a registered task. Executes nothing.

    Raises UserError for code that does not exist.
    """
    if train is not None:
        return find(train, folder, "train")
    name = task.get("name") if isinstance(task, Mapping) else task
    if not isinstance(name, str):
        raise UserError(f"task: needs a name, as in  task: {{name: digits}}  (allowed: {', '.join(tasks)})")
    return find(name, folder, "task") if ":" in name else None


def trained_by(
    task: str | Mapping[str, Any] | None, train: str | None, base: Mapping[str, Any], folder: Path
) -> Trained:
    """What the keys `task` or `train` name. Raises UserError for what does not exist or does not fit `base`."""
    code = find_code(task, train, folder)
    references: tuple[Reference, ...] = () if code is None else (code,)
    if train is not None:
        return TrainedLoop(base, folder, references)
    options = dict(task) if isinstance(task, Mapping) else {"name": task}
    name = str(options.pop("name"))
    examples = None
    config_type: type[TrainingConfig] = OwnModelConfig
    if code is None:
        entry = tasks.check({"name": name, **options}, "task").placed(folder)
        options = {key: value for key, value in entry.model_dump(mode="json").items() if key != "name"}
        examples = entry.examples()
        references = tuple(Reference(str(path), "", digest_of(path)) for path in entry.files())
        config_type = TrainingConfig.starting(entry.starts())
    for path, found in paths(config_type).items():
        if found.set_by is not None and path.split(".")[0] in base:
            raise UserError(f"base.{path}: is set by the sweep's top-level {found.set_by}; write it there")
    config = check(config_type, base, "base")
    try:
        files = config.loss.files(folder)
    except UserError as error:
        raise UserError(f"base.{error}") from None
    references += tuple(Reference(str(path), "", digest(path)) for path in files)
    return TrainedTask(base, folder, references, name, options, config, code is not None, examples)
