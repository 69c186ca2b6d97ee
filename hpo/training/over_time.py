"""Numbers of a config that change while it trains: the section `schedules`, and the tables that the loop reads.

A field may be moved when it says so itself (`json_schema_extra=OVER_TIME`). The table of a path is the config's value
times the factors of its schedule; the learning rate's is made by `schedule` and `optimizer.lr`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from hpo.errors import unknown, unknown_text
from hpo.registry import Entry
from hpo.schema import mistake, mistake_at
from hpo.training.optimizers import optimizers
from hpo.training.regularizers import Regularizer
from hpo.training.schedules import Array, Schedule, schedules
from hpo.training.section import Section
from hpo.training.sections import STRENGTHS

if TYPE_CHECKING:
    from hpo.training.config import TrainingConfig
    from hpo.training.strengths import Strength


def targets() -> Mapping[str, str]:
    """The paths that a schedule may move, with their descriptions: fields of optimizers, strengths of other entries."""
    strengths = (entry for registry in STRENGTHS.values() for entry in registry.entries.values())
    return _targets(tuple(optimizers.entries.values()), tuple(strengths))


@lru_cache(maxsize=16)
def _targets(of_optimizers: tuple[type[Entry], ...], strengths: tuple[type[Strength], ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for optimizer in of_optimizers:
        for field, text in _movable(optimizer):
            found.setdefault(f"optimizer.{field}", text)
    for entry in strengths:
        for field, text in _movable(entry):
            if field == entry.main:
                found[f"{entry.section}.{entry.registered_as}"] = text
    return found


def _movable(entry: Any) -> Iterator[tuple[str, str]]:
    for field, info in entry.model_fields.items():
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("over_time"):
            yield field, info.description or ""


class Schedules(Section[Schedule]):
    """Schedules by the paths that they move: `{optimizer.weight_decay: {name: cosine, floor: 0.1}}`.

    Keys may be nested; the canonical form has the whole path as one key.
    """

    title: ClassVar[str] = "schedules"
    example: ClassVar[str] = "{optimizer.weight_decay: cosine}"

    @classmethod
    def read(cls, raw: Mapping[Any, Any]) -> Iterator[tuple[str, Schedule]]:
        """See Section."""
        return _parsed(raw, "")

    @staticmethod
    def plain(entry: Schedule) -> Any:
        """See Section."""
        return entry.model_dump(mode="json")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        one = {"type": "object", "properties": {"name": {"enum": list(schedules)}}}
        entry = {"anyOf": [{"enum": list(schedules)}, one]}
        listed = {path: {"description": f"over time: {text}", **entry} for path, text in targets().items()}
        return {"type": "object", "properties": listed, "additionalProperties": {"type": "object"}}


def _parsed(tree: Mapping[Any, Any], begin: str) -> Iterator[tuple[str, Schedule]]:
    known = targets()
    for key, below in tree.items():
        path = f"{begin}{key}"
        if path in known:
            yield path, _entry(path, below)
        elif isinstance(below, Mapping) and any(target.startswith(f"{path}.") for target in known):
            yield from _parsed(below, f"{path}.")
        else:
            raise mistake_at(Schedules.title, unknown_text("number to schedule", path, known))


def _entry(path: str, raw: Any) -> Schedule:
    if isinstance(raw, Mapping) and "" in raw:  # `optimizer.weight_decay: cosine` beside `optimizer.weight_decay.floor`
        raw = {"name": raw[""], **{key: value for key, value in raw.items() if key}}
    try:
        return schedules.parse(raw)
    except PydanticCustomError as error:
        raise mistake_at(Schedules.title, error.message(), path) from None
    except ValidationError as error:
        loc, text = mistake(error, Schedule)
        raise mistake_at(Schedules.title, text, path, *loc) from None


def misfit(config: TrainingConfig) -> tuple[str, str] | None:
    """A path whose schedule would move nothing of this config, and why."""
    for path in config.schedules:
        section, _, field = path.partition(".")
        entry = getattr(config, section).get(field) if section in STRENGTHS else None
        if section in STRENGTHS and entry is None:
            return path, f"has no effect without {path}, which is off"
        if config.native_dropout and isinstance(entry, Regularizer) and entry.masks:
            return path, "cannot move it beside native_dropout: true"
        if section == "optimizer" and field not in type(config.optimizer).model_fields:
            return path, f"optimizer {config.optimizer.name!r} has no {field}"
    return None


def check_steps(config: TrainingConfig, steps: int) -> None:
    """Raises UserError, naming the key, for a moment of any schedule that lies outside a training of `steps`."""
    for _, key, schedule in _moved(config):
        schedule.fits(steps, key)


def _moved(config: TrainingConfig) -> Iterator[tuple[str, str, Schedule]]:
    """(path, key of the schedule that moves it, schedule), the learning rate first."""
    yield "optimizer.lr", "schedule", config.schedule
    for path, schedule in config.schedules.items():
        yield path, f"schedules.{path}", schedule


def followed(config: TrainingConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """The metrics that a training hangs on while it runs, each with the key of the schedule or regularizer."""
    for _, key, schedule in _moved(config):
        if schedule.reactive:
            yield tuple(key.split(".")), str(schedule.model_dump()["metric"])
    for name, entry in config.regularization.items():
        if entry.reports and entry.strength > 0:
            yield ("regularization", name), str(entry.model_dump().get("metric"))


def value_at(config: TrainingConfig, path: str) -> float:
    """The config's own number at a path that a schedule may move."""
    section, _, field = path.partition(".")
    own = getattr(config, section)
    return float(own[field].strength if section in STRENGTHS else getattr(own, field))


class Curves:
    """The tables of one training, a row of float64 for each moved path; what `Now.values` is read from."""

    def __init__(self, config: TrainingConfig, steps: int, directions: Mapping[str, str]) -> None:
        """directions: of the reported metrics, "minimize" or "maximize".

        Raises UserError for a moment outside `steps` or a followed metric that is not reported.
        """
        self.directions = directions
        self.rows: dict[str, Array] = {}
        self.followers: dict[str, tuple[Schedule, str, Array]] = {}
        for path, key, schedule in _moved(config):
            self.rows[path] = value_at(config, path) * schedule.factors(steps, key)
            if schedule.reactive:
                metric = str(schedule.model_dump()["metric"])
                if metric not in directions:
                    raise unknown(f"{key}.metric", "metric of this task", metric, directions)
                self.followers[path] = schedule, metric, self.rows[path].copy()

    def react(self, reports: Sequence[Mapping[str, float]], step: int) -> None:
        """Rewrite what is left of the rows, from `step` on, as the reports so far demand."""
        for path, (schedule, metric, untouched_T) in self.followers.items():
            values = [report[metric] for report in reports]
            factor = schedule.after_reports(values, minimize=self.directions[metric] == "minimize")
            self.rows[path][step:] = untouched_T[step:] * factor

    def between(self, first: int, last: int) -> list[dict[str, float]]:
        """The values of steps first ... last-1, by path."""
        columns = [row_T[first:last].tolist() for row_T in self.rows.values()]
        return [dict(zip(self.rows, values, strict=True)) for values in zip(*columns, strict=True)]
