"""What the members of a pack must agree on, and what they may differ in: decided here, and nowhere else.

Members may differ in their seed, epochs, schedules and initializer, in the numbers of optimizer and loss, and in the
strength of augmentations and regularizers that are on. All else (the model, batch size, precision, which optimizer ...)
is one shape.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError
from hpo.lazy import torch
from hpo.registry import Entry
from hpo.training.optimizers import Optimizer, optimizers
from hpo.training.over_time import targets
from hpo.training.regularizers import Regularizer
from hpo.training.sections import STRENGTHS, strengths_of
from hpo.training.strengths import Strength

if TYPE_CHECKING:
    from hpo.training.config import TrainingConfig

MEMBERS_OWN = ("seed", "epochs", "schedule", "schedules", "initializer", "largest_loss")
"""Fields of a config that never reach the pack's step: they make first weights, orders and tables of numbers."""


class Unpackable(HpoError):
    """A config that trains by itself; says why."""


@dataclass(frozen=True)
class Shape:
    """Equal for configs whose trainings are one stacked model. agreed: the canonical JSON of what they agree on."""

    agreed: str


def shape_of(config: TrainingConfig) -> Shape:
    """The shape of a config. Raises Unpackable."""
    _check_facts(config)
    dumped = config.model_dump(mode="json")
    agreed = {key: value for key, value in dumped.items() if key not in MEMBERS_OWN}
    agreed["optimizer"] = _but(dumped["optimizer"], config.optimizer.numbers()) | {"slots": _slots(config.optimizer)}
    agreed["loss"] = _but(dumped["loss"], floats_of(config.loss))
    agreed |= dict.fromkeys(STRENGTHS)
    agreed["strengths"] = {path: _agreed(path, entry) for path, entry in strengths_of(config) if _leaves_a_trace(entry)}
    return Shape(json.dumps(agreed, sort_keys=True))


def floats_of(entry: Entry) -> dict[str, float]:
    """The fields of an entry that are floats, by name: what members may differ in."""
    return {name: getattr(entry, name) for name, info in type(entry).model_fields.items() if info.annotation is float}


def numbers_of(config: TrainingConfig) -> dict[str, float]:
    """The config's own value at every path that a pack's step reads as a number of the member."""
    own = {f"optimizer.{name}": value for name, value in config.optimizer.numbers().items()}
    own |= {f"loss.{name}": value for name, value in floats_of(config.loss).items()}
    return own | {path: entry.strength for path, entry in strengths_of(config) if path in targets()}


def zero_is_a_number(path: str) -> bool:
    """Whether a member of a pack may have 0 at `path` beside others that have more: no slot comes or goes with it."""
    section, *below = path.split(".")
    if section in STRENGTHS:
        entry = STRENGTHS[section].entries.get(below[0])
        return entry is not None and _fills_nothing(entry)
    if section == "optimizer":
        return not any(below == [name] for entry in optimizers.entries.values() for name in entry.slotless_at_0)
    return section in (*MEMBERS_OWN, "loss")


def _check_facts(config: TrainingConfig) -> None:
    if config.precision == "float16":
        raise Unpackable("precision: float16 scales the gradients of each training by itself")
    if config.accumulate > 1:
        raise Unpackable("accumulate: the batches of a pack go through in one piece")
    if config.privacy.on:
        raise Unpackable("privacy: the gradients of single examples are taken in one training at a time")
    if config.native_dropout:
        raise Unpackable("native_dropout: torch's own masks hang on what else is drawn")
    if type(config.optimizer).build is not Optimizer.build:
        raise Unpackable(f"optimizer: {config.optimizer.name} is not one rule for each parameter")
    parts: dict[str, Any] = {"optimizer": config.optimizer, "loss": config.loss, "initializer": config.initializer}
    parts |= {path: entry for path, entry in strengths_of(config) if entry.strength > 0}
    for key, entry in parts.items():
        if not entry.packable:
            raise Unpackable(f"{key}: {entry.name} trains by itself, {entry.reason}")


def _but(dumped: Mapping[str, Any], names: Mapping[str, float]) -> dict[str, Any]:
    return {key: value for key, value in dumped.items() if key not in names}


def _slots(optimizer: Optimizer) -> list[str]:
    """What it keeps beside a matrix: a momentum of 0 keeps nothing."""
    return sorted(optimizer.slots(torch.zeros(1, 1)))


def _leaves_a_trace(entry: Strength) -> bool:
    """Whether the step, or the network, knows of it. A regularizer that is off may undo what the model brings."""
    if not isinstance(entry, Regularizer):
        return entry.strength > 0
    if entry.reports:
        return False
    return entry.strength > 0 or type(entry).prepare is not Regularizer.prepare or _is_number_only(entry)


def _is_number_only(entry: Strength) -> bool:
    return _fills_nothing(type(entry))


def _fills_nothing(entry: type[Strength]) -> bool:
    """Whether it fills no slot: then 0 is a strength like any other."""
    return entry.fill is Strength.fill


def _agreed(path: str, entry: Strength) -> dict[str, Any]:
    fields = entry.model_dump(mode="json")
    own = fields if path not in targets() else _but(fields, {entry.main: 0.0})
    return own if _is_number_only(entry) else own | {"on": entry.strength > 0}
