"""What came of an export that was trained again: the numbers, how close they are, and whether that is close enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.errors import NotReproduced
from hpo.export.form import Exported

if TYPE_CHECKING:
    from torch import nn

    from hpo.training.by_class import ByClass

NEAR = 1e-4  # of the value: what packs promise for whole trainings that forgive a rounding
ROUNDING = 1e-6  # of the value: metrics are float32, so one example of 360 is not 1/360 to the last digit


def tolerance(recorded: float, spread: float, grain: float | None) -> float:
    """How far a trial's number by itself may be from that of its pack.

    Packs round otherwise than solo runs do, and training may make anything of a rounding. spread: what it made of one
    ulp. grain: how far one example moves the metric, where it counts examples.
    """
    return max(spread, grain or 0.0, NEAR * abs(recorded))


def is_within(near: float, value: float, recorded: float) -> bool:
    """Whether a value is the recorded one within a tolerance."""
    return abs(value - recorded) <= near + ROUNDING * abs(recorded)


@dataclass(frozen=True)
class TrainResult:
    """An export trained again.

    value: the objective now, None where it was not reached. recorded: the exported one. compared: false with
    overrides. test: metrics on the test split, empty where there is none. net: the trained network of a task.
    by_class: its confusion matrix and ROC curves on the test split, on the validation split where there is none.
    tolerance: of the value, where a trial of a pack, or of several workers, gave another one; None where it is compared
    bit for bit.
    examples: of the split that the objective counts, None where it is no share of them.
    """

    exported: Exported
    value: float | None
    metrics: Mapping[str, float]
    test: Mapping[str, float]
    compared: bool
    differs: tuple[str, ...]
    net: nn.Module | None = None
    by_class: ByClass | None = None
    tolerance: float | None = None
    examples: int | None = None

    @property
    def recorded(self) -> float:
        """The value in the export: the study's, or where that was verified, of the trial trained alone."""
        return self.exported.value

    @property
    def difference(self) -> float | None:
        """How far the value is from the recorded one."""
        return None if self.value is None else abs(self.value - self.recorded)

    @property
    def reproduced(self) -> bool:
        """Whether the value is the recorded one: bit for bit, or of a trial of a pack within the tolerance."""
        if self.tolerance is None or self.value is None:
            return self.value == self.recorded
        return is_within(self.tolerance, self.value, self.recorded)

    def text(self) -> str:
        """For people."""
        metric = self.exported.objective.metric
        value = "not reported" if self.value is None else repr(self.value)
        if not self.compared:
            lines = [f"{metric}: {value} (not compared with the recorded {self.recorded!r}: options were changed)"]
        else:
            of = "a packed trial" if self.exported.packed else f"a trial trained {self.exported.company}"
            within = f" within the tolerance of {of}" if self.tolerance is not None else ""
            done = f"reproduced{within}" if self.reproduced else "NOT reproduced"
            lines = [f"{done}: {metric} {value}, recorded {self.recorded!r}{self._apart()}"]
        lines += [f"{name}: {number:.6g}" for name, number in self.test.items()]
        return "\n".join(lines)

    def _apart(self) -> str:
        if self.tolerance is None or self.difference is None:
            return ""
        difference, tolerance = f"{self.difference:.3g}", f"{self.tolerance:.3g}"
        if self.examples is not None:
            difference += f" ({self.difference * self.examples:.3g} of {self.examples} examples)"
            tolerance += f" ({self.tolerance * self.examples:.3g})"
        return f", difference {difference}, tolerance {tolerance}"

    def data(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "metric": self.exported.objective.metric,
            "value": self.value,
            "recorded": self.recorded,
            "packed": self.exported.packed,
            "workers": self.exported.workers,
            "value_in_study": self.exported.value if not self.exported.verified else self.exported.value_in_study,
            "difference": self.difference if self.compared else None,
            "tolerance": self.tolerance,
            "examples": self.examples,
            "compared": self.compared,
            "reproduced": self.reproduced if self.compared else None,
            "metrics": dict(self.metrics),
            "test": dict(self.test),
            "by_class": self.by_class.model_dump(mode="json") if self.by_class is not None else None,
        }

    def check(self) -> None:
        """Raise NotReproduced when the number was compared and is another one."""
        if self.compared and not self.reproduced:
            reason = f"; {', '.join(self.differs)}" if self.differs else ""
            where = "export" if self.exported.verified else "study"
            raise NotReproduced(
                f"{self.exported.objective.metric} is {self.value!r}, the {where} has {self.recorded!r}"
                f"{self._apart()}{reason}"
            )
