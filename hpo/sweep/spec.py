"""The sweep as pydantic models: the keys a user writes, their defaults and rules."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from hpo import yaml12
from hpo.errors import UserError
from hpo.loader import Reference, find_file, run_file
from hpo.schema import Frozen, check, nest, sentence
from hpo.search.pruners import Pruner, pruners
from hpo.search.samplers import Sampler, samplers
from hpo.space import Space
from hpo.sweep.durations import Duration
from hpo.sweep.reading import (
    fill_environment,
    keep_environment,
    read_file,
    read_override,
    refuse_foreign,
    with_overrides,
)
from hpo.sweep.trained import Trained, trained_by


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

    cpus: float = Field(1, gt=0, description="CPUs of a slot, also its torch threads")
    gpus: float = Field(0, ge=0, description="GPUs of a slot; a fraction shares one")
    timeout: Duration | None = Field(None, description="wall time of a trial since its last start")
    isolate: bool = Field(False, description="a fresh process for every trial")


class Failures(Frozen):
    """What happens to trials whose code raised. A trial lost with its process or node goes on anyway."""

    retries: int = Field(0, ge=0, description="how often a trial whose code raised is tried again")
    max_in_a_row: int = Field(10, ge=1, description="FAILs in a row that end the sweep")


# what may differ when a name is launched again
_FREE = ("budget", "trial", "concurrency", "failures")


class Sweep(Frozen):
    """A sweep: built in Python with the keys of the YAML file, or read by `Sweep.from_file`.

    Paths hang on the file's folder (in Python: on the working directory). Raises UserError with one sentence.
    """

    name: str = Field(min_length=1, max_length=200, description="the study's name, its only identity")
    task: str | dict[str, Any] | None = Field(None, description="a registered task, or my_task.py:make_task")
    train: str | None = Field(None, description="a training function, my_train.py:train")
    plugins: tuple[str, ...] = Field((), description="files that register entries")
    space: dict[str, Any] = Field(description="what is searched")
    objective: ObjectiveSpec | None = Field(None, description="the metric to optimize")
    objectives: tuple[ObjectiveSpec, ...] | None = Field(None, min_length=1, description="several of them")
    budget: Budget = Field(description="when the study is done")
    sampler: Annotated[Sampler, samplers] = Field("tpe", validate_default=True, description="how to suggest")
    pruner: Annotated[Pruner, pruners] = Field("none", validate_default=True, description="what to stop early")
    trial: TrialOptions = Field(TrialOptions(), description="what one slot takes")
    concurrency: int | Literal["auto"] = Field("auto", description="how many slots")
    failures: Failures = Field(Failures(), description="what to do about failing trials")
    storage: str | None = Field(None, description="database URL; sqlite:///hpo.db by default")
    seed: int = Field(0, ge=0, lt=2**63, description="of the sampler and, with its number, of every trial")
    base: dict[str, Any] = Field({}, description="what is not searched")

    _folder: Path = PrivateAttr()
    _written: dict[str, Any] = PrivateAttr()
    _trained: Trained = PrivateAttr()
    _space: Space = PrivateAttr()
    _plugin_files: tuple[Reference, ...] = PrivateAttr()

    def __init__(self, **keys: Any) -> None:
        _build(self, keys, Path.cwd())

    @classmethod
    def from_file(cls, path: str | Path, overrides: Iterable[str | tuple[str, Any]] = ()) -> Sweep:
        """Read a YAML file. overrides: `base.epochs=5` texts or (path, value) pairs, set before anything is checked."""
        file = Path(path)
        pairs = [read_override(item) if isinstance(item, str) else item for item in overrides]
        return cls.from_dict(with_overrides(read_file(file), pairs), file.resolve().parent)

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

    @field_validator("concurrency")
    @classmethod
    def _some_slots(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"must be at least 1, or auto, found {value}")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> Sweep:
        if (self.task is None) == (self.train is None):
            raise UserError("task: name either task or train, not " + ("both" if self.task else "neither of them"))
        if (self.objective is None) == (self.objectives is None):
            both = "both" if self.objective else "neither of them"
            raise UserError(f"objective: name either objective or objectives, not {both}")
        return self

    # ------------------------------------------------------------ what follows from the keys

    @property
    def goals(self) -> tuple[ObjectiveSpec, ...]:
        """The objective, or the objectives."""
        return (self.objective,) if self.objective is not None else self.objectives or ()

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

    def canonical(self) -> dict[str, Any]:
        """The one form of this sweep: every key, defaults filled in, parameters with types, paths absolute.

        Values written as ${env:NAME} stay so; the storage is left out: no secret can lie here.
        """
        keys = self.model_dump(exclude={"storage"}, exclude_none=True)
        keys["space"] = self._space.to_raw()
        keys |= self._trained.canonical()
        if self.plugins:
            keys["plugins"] = [file.source for file in self._plugin_files]
        written = _normal(self._written)
        return {key: keep_environment(value, written.get(key)) for key, value in keys.items()}

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


def _build(sweep: Sweep, keys: dict[str, Any], folder: Path) -> None:
    """Validate `keys` into `sweep`: keys first, then plugins, then what trains, then the space against it."""
    refuse_foreign(keys, Sweep.model_fields)
    written = {key: _as_reference(value) if key in ("task", "train") else value for key, value in keys.items()}
    # one exported space object is also a legal `space`
    if isinstance(written.get("space"), Space):
        written["space"] = written["space"].to_raw()
    normal = _normal(written)
    refuse_foreign(normal, Sweep.model_fields)
    filled = fill_environment(normal)
    filled["base"], written_base = _base(filled.get("base"), folder), normal.get("base")
    plugins = _plugins(filled, folder)
    try:
        # pydantic's own __init__, which Sweep.__init__ stands in front of
        super(Sweep, sweep).__init__(**filled)
    except ValidationError as error:
        raise UserError(sentence(error, Sweep)) from None
    sweep._folder, sweep._plugin_files = folder, plugins
    sweep._written = {**normal, "base": filled["base"] if isinstance(written_base, str) else written_base or {}}
    sweep._trained = trained_by(sweep.task, sweep.train, sweep.base, folder)
    sweep._space = sweep._trained.parse_space(sweep.space, folder)
    sweep._trained.check(sweep._space, sweep.goals, sweep.pruner)
    sweep.sampler.check(sweep._space, len(sweep.goals))


def _plugins(filled: Mapping[str, Any], folder: Path) -> tuple[Reference, ...]:
    """Load the plugins, after all that does not rest on them has been found right: a bad file executes nothing."""
    items = filled.get("plugins") or ()
    if not isinstance(items, list | tuple):
        raise UserError(f"plugins: must be a list of files, found {items!r}")
    if not items:
        return ()
    check(_WithoutPlugins, {key: value for key, value in filled.items() if key in _WithoutPlugins.model_fields})
    found = tuple(find_file(item, folder, "plugins") for item in items)
    for plugin in found:
        run_file(Path(plugin.source), "plugins")
    return found


class _WithoutPlugins(Frozen):
    """The keys whose values no plugin can add to."""

    name: str
    space: dict[str, Any]
    budget: Budget
    objective: ObjectiveSpec | None = None
    trial: TrialOptions = TrialOptions()
    failures: Failures = Failures()


def _as_reference(value: Any) -> Any:
    """A function given in Python as the file and name that slots import it by."""
    if not callable(value):
        return value
    file = inspect.getsourcefile(value)
    if file is None or "." in value.__qualname__ or value.__qualname__ == "<lambda>":
        raise UserError(f"{value!r} must be a function at the top level of a file, since other processes import it")
    return f"{Path(file).resolve()}:{value.__qualname__}"


def _base(value: Any, folder: Path) -> dict[str, Any]:
    if isinstance(value, str):
        value = fill_environment(read_file(folder / value), "base")
    if value is not None and not isinstance(value, Mapping):
        raise UserError(f"base: must be a mapping or a YAML file, found {value!r}")
    return nest(value or {})


def _normal(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted top-level keys nested (`budget.trials: 60`); inside space they stay, choices may hold dots."""
    space = {key: value for key, value in keys.items() if key == "space" or str(key).startswith("space.")}
    normal = nest({key: value for key, value in keys.items() if key not in space})
    inner: dict[str, Any] = {}
    for key, value in space.items():
        if key == "space":
            if not isinstance(value, Mapping):
                raise UserError(f"space: must be a mapping of parameters, found {value!r}")
            inner |= value
        else:
            inner[key.removeprefix("space.")] = value
    if space:
        normal["space"] = inner
    return normal
