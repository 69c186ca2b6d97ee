"""The sweep as pydantic models: the keys a user writes, their defaults and rules."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, field_validator, model_validator

from hpo import yaml12
from hpo.errors import UserError, mask
from hpo.loader import Reference, find_file, run_file
from hpo.registry import Registry
from hpo.schema import Frozen, sentence, shown
from hpo.search.constraints import Constraints
from hpo.search.pruners import Pruner, pruners
from hpo.search.samplers import Sampler, samplers
from hpo.space import Space
from hpo.sweep.data import check_data
from hpo.sweep.durations import Duration
from hpo.sweep.plain import nested, plain
from hpo.sweep.reading import (
    fill_environment,
    holds_password,
    keep_environment,
    read_file,
    refuse_foreign,
    with_base_file,
    with_overrides,
)
from hpo.sweep.trained import Trained, find_code, trained_by
from hpo.training.checkpoint import EVERY, KEEP
from hpo.training.places import on_disk


class Budget(Frozen):
    """Totals of the study over all its runs; at least one of the two."""

    trials: int | None = Field(None, ge=1, description="trials that end, in whatever state")
    time: Duration | None = Field(None, description="wall time of the drivers, summed")

    @model_validator(mode="after")
    def _some(self) -> Budget:
        if self.trials is None and self.time is None:
            raise ValueError("needs trials or time, as in  budget: {trials: 60}")
        return self


class ObjectiveSpec(Frozen):
    """A reported metric and where to push it."""

    metric: str = Field(min_length=1, description="its name as it is reported: val_accuracy, val_loss, ...")
    direction: Literal["maximize", "minimize"] = Field(description="maximize or minimize")
    at: Literal["last", "best"] = Field(
        "last", description="the value of a COMPLETE trial: its last report or its best"
    )


class TrialOptions(Frozen):
    """What one slot takes, and how long one trial may."""

    cpus: float = Field(1.0, gt=0, description="CPUs of a slot, also its torch threads")
    gpus: float = Field(0.0, ge=0, description="GPUs of a slot; a fraction shares one")
    timeout: Duration | None = Field(None, description="wall time of a trial since its last start")
    isolate: bool = Field(False, description="a fresh process for every trial")
    workers: int = Field(1, ge=1, description="processes that train one trial together; cpus and gpus are of each")

    @property
    def resources(self) -> tuple[float, float, int]:
        """CPUs and GPUs of a worker, and how many there are."""
        return self.cpus, self.gpus, self.workers

    @model_validator(mode="after")
    def _whole_gpus(self) -> TrialOptions:
        if self.workers > 1 and self.gpus % 1:
            raise UserError(f"trial.gpus: must be whole for a trial of several workers, found {self.gpus:g}")
        return self


class Failures(Frozen):
    """What happens to trials whose code raised. A trial lost with its process or node goes on anyway."""

    retries: int = Field(0, ge=0, description="how often a trial whose code raised is tried again")
    max_in_a_row: int = Field(10, ge=1, description="FAILs in a row that end the sweep")


class Checkpoints(Frozen):
    """When and where trials in flight are saved, and how many of the best keep their last checkpoint."""

    path: str | None = Field(
        None,
        min_length=1,
        description="a folder or fsspec URL (s3://bucket/x); hpo-trials beside the database when not given",
    )
    every: Duration = Field(EVERY, description="time between two checkpoints of a trial")
    keep: int = Field(
        KEEP, ge=0, description="how many best COMPLETE trials keep theirs, beside the last that ended; 0: none"
    )

    @field_validator("path")
    @classmethod
    def _seen_by_others(cls, path: str | None) -> str | None:
        if path is not None and path.startswith("memory:"):
            raise ValueError(f"a process's own memory ({path}) is seen by no other; give a folder or a store's URL")
        return path

    def place(self, folder: Path) -> str | None:
        """The path with a relative one on a disk hung on `folder`; None when none is given."""
        if self.path is None:
            return None
        local = on_disk(self.path)
        return self.path if local is None else str(folder / local)


def _slots(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"must be a whole number from 1, or auto, found {shown(value)}")


def _rows(value: object) -> object:
    if value in ("auto", "off") or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"must be a whole number from 1, auto or off, found {shown(value)}")


def _one_task(value: object) -> object:
    if isinstance(value, str | Mapping | None):
        return value
    raise ValueError(f"must be a task's name, my_task.py:make_task, or a mapping with a name, found {shown(value)}")


Slots = Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], BeforeValidator(_slots)]
Rows = Annotated[Annotated[int, Field(ge=1)] | Literal["auto", "off"], BeforeValidator(_rows)]
TaskKey = Annotated[str | dict[str, Any] | None, BeforeValidator(_one_task)]

# what may differ when a name is launched again
_FREE = ("budget", "trial", "concurrency", "pack", "checkpoints", "failures")


class Sweep(Frozen):
    """A sweep: built in Python with the keys of the YAML file, or read by `Sweep.from_file`.

    Paths hang on the file's folder (in Python: on the working directory). Raises UserError with one sentence.
    """

    name: str = Field(min_length=1, max_length=200, description="the study's name, its only identity")
    task: TaskKey = Field(None, description="a registered task, or my_task.py:make_task")
    train: str | None = Field(None, description="a training function, my_train.py:train")
    plugins: tuple[str, ...] = Field((), strict=False, description="files that register entries")
    space: dict[str, Any] = Field(description="what is searched")
    objective: ObjectiveSpec | None = Field(None, description="the metric to optimize")
    objectives: tuple[ObjectiveSpec, ...] | None = Field(
        None, strict=False, min_length=1, description="several of them"
    )
    constraints: tuple[str, ...] = Field(
        (), strict=False, description="what the last report of a trial has to meet to be the best: [epsilon <= 8]"
    )
    budget: Budget = Field(description="when the study is done")
    sampler: Annotated[Sampler, samplers] = Field("tpe", validate_default=True, description="how to suggest")
    pruner: Annotated[Pruner, pruners] = Field("none", validate_default=True, description="what to stop early")
    trial: TrialOptions = Field(TrialOptions(), description="what one slot takes")
    concurrency: Slots = Field("auto", description="how many slots")
    pack: Rows = Field("auto", description="how many trials a slot trains at once as one stacked model")
    checkpoints: Checkpoints = Field(Checkpoints(), description="how trials in flight are saved, and whose are kept")
    failures: Failures = Field(Failures(), description="what to do about failing trials")
    storage: str | None = Field(None, description="database URL; sqlite:///hpo.db by default")
    seed: int = Field(0, ge=0, lt=2**63, description="of the sampler and, with its number, of every trial")
    base: dict[str, Any] = Field({}, description="what is not searched")

    _folder: Path = PrivateAttr()
    _canonical: dict[str, Any] = PrivateAttr()
    _trained: Trained = PrivateAttr()
    _space: Space = PrivateAttr()
    _plugin_files: tuple[Reference, ...] = PrivateAttr()

    def __init__(self, **keys: Any) -> None:
        _build(self, keys, Path.cwd())

    @classmethod
    def from_file(cls, path: str | Path, overrides: Iterable[str | tuple[str, Any]] = ()) -> Sweep:
        """Read a YAML file. overrides: `base.epochs=5` texts or (path, value) pairs, set before anything is checked."""
        file = Path(path)
        folder = file.resolve().parent
        return cls.from_dict(with_overrides(with_base_file(read_file(file), folder), overrides), folder)

    @classmethod
    def from_dict(cls, keys: Mapping[str, Any], folder: Path) -> Sweep:
        """A sweep from plain keys, whose paths hang on `folder`."""
        sweep = cls.__new__(cls)
        _build(sweep, dict(keys), folder)
        return sweep

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if name != name.strip() or not name.isprintable() or "/" in name or name.startswith(("-", ".")):
            raise ValueError(f"{name!r} must not begin with - or ., nor hold slashes, line breaks or outer spaces")
        return name

    @field_validator("constraints", mode="before")
    @classmethod
    def _in_one_form(cls, raw: Any) -> Any:
        if not isinstance(raw, list | tuple) or not all(isinstance(text, str) for text in raw):
            raise ValueError(f'must be a list such as ["epsilon <= 8"], found {shown(raw)}')
        found = [str(one) for one in Constraints.parse(raw)]
        twice = next((text for text in found if found.count(text) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is named twice; keep one")
        return tuple(found)

    @model_validator(mode="after")
    def _one_of(self) -> Sweep:
        if (self.task is None) == (self.train is None):
            raise UserError(f"task: give one of task and train, found {'neither' if self.task is None else 'both'}")
        if (self.objective is None) == (self.objectives is None):
            found = "neither" if self.objective is None else "both"
            raise UserError(f"objective: give one of objective and objectives, found {found}")
        if isinstance(self.pack, int):
            self._check_pack(self.pack)
        metrics = [goal.metric for goal in self.goals]
        twice = next((metric for metric in metrics if metrics.count(metric) > 1), None)
        if twice is not None:
            raise UserError(f"objectives: {twice} is named twice; keep one")
        return self

    def _check_pack(self, rows: int) -> None:
        if self.train is not None:
            raise UserError(f"pack: a loop of your own trains one trial at a time; write off or auto, found {rows}")
        if self.trial.workers > 1:
            raise UserError(
                f"pack: several workers train one trial at a time (trial.workers); write off or auto, found {rows}"
            )
        if self.trial.isolate:
            raise UserError(f"pack: trial.isolate gives each trial a process; write off or auto, found {rows}")

    # ------------------------------------------------------------ what follows from the keys

    @property
    def goals(self) -> tuple[ObjectiveSpec, ...]:
        """The objective, or the objectives."""
        return (self.objective,) if self.objective is not None else self.objectives or ()

    @property
    def bounds(self) -> Constraints:
        """The constraints, parsed."""
        return Constraints.parse(self.constraints)

    @property
    def rows(self) -> int | Literal["auto", "off"]:
        """`pack`, where it can be followed: a user's own loop, isolated trials and several workers have no packs."""
        alone = self.train is not None or self.trial.isolate or self.trial.workers > 1
        return "off" if alone else self.pack

    @property
    def search_space(self) -> Space:
        """The parsed space."""
        return self._space

    @property
    def trained(self) -> Trained:
        """What a trial trains."""
        return self._trained

    @property
    def plugin_files(self) -> tuple[Reference, ...]:
        """The plugins, found and loaded."""
        return self._plugin_files

    @property
    def folder(self) -> Path:
        """What paths of the sweep hang on."""
        return self._folder

    def check_data(self) -> tuple[str, ...]:
        """Read a registered task's data, and check all that hangs on them; sentences on what was done to them.

        Processed files of the user's are kept for the trials. Raises UserError.
        """
        return check_data(self._trained, self._space, self.goals, self.pruner, self.bounds)

    def canonical(self) -> dict[str, Any]:
        """The one form of this sweep: every key, defaults filled in, parameters with types, paths absolute.

        Plain JSON data. Values written as ${env:NAME} stay so, and the storage is left out: no secret can lie here.
        """
        return copy.deepcopy(self._canonical)

    def digests(self) -> dict[str, str]:
        """Content digest of each code file the sweep rests on."""
        found = [*self._trained.references, *self._plugin_files]
        return {reference.source: reference.digest for reference in found if reference.digest is not None}

    def stored(self) -> dict[str, Any]:
        """What is kept with the study, so that it resumes without its file."""
        return {"keys": self.canonical(), "digests": self.digests(), "folder": str(self._folder)}

    @staticmethod
    def identity(stored: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a stored sweep that must not differ when its name is launched again."""
        kept = {key: value for key, value in stored["keys"].items() if key not in _FREE}
        return {**kept, "code": dict(stored["digests"])}

    def to_yaml(self) -> str:
        """The canonical form as a sweep file."""
        return yaml12.dump(self.canonical())


def _build(sweep: Sweep, keys: Mapping[str, Any], folder: Path) -> None:
    """Validate `keys` into `sweep`: what rests on no plugin, then plugins, then all keys, then the space."""
    refuse_foreign(keys, Sweep.model_fields)
    written = nested(plain(with_base_file(keys, folder)))
    refuse_foreign(written, Sweep.model_fields)
    filled = fill_environment(written)
    if not isinstance(filled.get("base", {}), Mapping | None):
        raise UserError(f"base: must be a mapping or a YAML file, found {shown(filled['base'])}")
    filled["base"] = filled.get("base") or {}
    plugins = _plugins(filled, folder)
    _validate(sweep, filled)
    sweep._folder, sweep._plugin_files = folder, plugins
    sweep._trained = trained_by(sweep.task, sweep.train, sweep.base, folder)
    sweep._space = sweep._trained.parse_space(sweep.space, folder)
    sweep._trained.check(sweep._space, sweep.goals, sweep.pruner, sweep.bounds)
    if sweep.trial.workers > 1:
        sweep._trained.check_shared(sweep._space)
    sweep.sampler.check(sweep._space.stored, len(sweep.goals))
    sweep._canonical = _canonical(sweep, written)


def _validate(sweep: Sweep, keys: Mapping[str, Any]) -> None:
    try:
        # pydantic's own __init__, which Sweep.__init__ stands in front of
        super(Sweep, sweep).__init__(**keys)
    except ValidationError as error:
        raise UserError(sentence(error, Sweep)) from None


def _plugins(filled: Mapping[str, Any], folder: Path) -> tuple[Reference, ...]:
    """Load the plugins, after all that does not rest on them has been found right: a bad file executes nothing."""
    items = filled.get("plugins") or ()
    if not isinstance(items, list | tuple):
        raise UserError(f"plugins: must be a list of files, found {shown(items)}")
    found = tuple(find_file(item, folder, "plugins") for item in items)
    if found:
        probe = Sweep.__new__(Sweep)
        by_registry = {
            name for name, info in Sweep.model_fields.items() if any(isinstance(m, Registry) for m in info.metadata)
        }
        _validate(probe, {key: value for key, value in filled.items() if key not in by_registry})
        find_code(probe.task, probe.train, folder)
    for plugin in found:
        run_file(Path(plugin.source), "plugins")
    return found


def _canonical(sweep: Sweep, written: Mapping[str, Any]) -> dict[str, Any]:
    found = sweep.model_dump(mode="json", exclude={"storage", "space", "task", "train"}, exclude_none=True)
    if not sweep.constraints:  # studies that were made before there were any have no such key
        del found["constraints"]
    found |= {
        "space": sweep.search_space.to_raw(sources=False),
        "plugins": [file.source for file in sweep.plugin_files],
    }
    found |= sweep.trained.canonical()
    place = sweep.checkpoints.place(sweep.folder)
    if place is not None:
        found["checkpoints"]["path"] = place
    kept: dict[str, Any] = keep_environment(found, written)
    path = kept["checkpoints"].get("path", "")
    if holds_password(path):
        raise UserError(
            f"checkpoints.path: the password in {mask(path)} would be stored with the study",
            hint="write the URL, or its password, as ${env:NAME}",
        )
    return {key: kept[key] for key in Sweep.model_fields if key in kept}
