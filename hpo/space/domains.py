"""The three domains a parameter can have, Float, Int and Choice: frozen, checked when made, compared by value.

What a domain says of itself (`range`, `problem`, `raw`) is in the configuration's terms; where a study keeps it
otherwise, `hpo.space.stored` says how.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from hpo.space.checks import (
    DomainError,
    Scalar,
    check_choices,
    check_range,
    check_scale,
    check_told,
    check_zero,
    number,
    whole,
)

if TYPE_CHECKING:
    from hpo.space.tree import Space


class Suggester(Protocol):
    """The part of `optuna.Trial` that a space needs."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A float of [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number of [low, high]."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""


@dataclass(frozen=True)
class Float:
    """A real number from low to high, both included.

    log: uniform in the logarithm (low above 0). step: only low, low + step, ... up to high, which must be one of them.
    scale: `one_minus_log` is uniform in the logarithm of 1 - x, for momentum and its like. zero: the probability of 0
    (off), beside the range. default: what a fresh study tries first. source: where the range comes from, for people.
    `hpo.space.stored` says how a study keeps the last two scales.
    Raises UserError for bounds that are no finite numbers, low above high, log together with step, and all that its
    arguments exclude.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    scale: str | None = None
    zero: float | None = None
    default: float | None = None
    source: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("low", "high", "step", "default"):
            if getattr(self, name) is not None or name in ("low", "high"):
                object.__setattr__(self, name, float(number("Float", name, getattr(self, name))))
        check_range("Float", self.low, self.high, self.log, self.step, self.step is not None)
        if self.scale is not None:
            other = "log" if self.log else "step" if self.step is not None else None
            check_scale("Float", self.scale, self.low, self.high, other)
        if self.zero is not None:
            check_zero("Float", self.zero)
        check_told("Float", self.default, self.source, self.problem(self.default))

    kind = "float"

    @property
    def range(self) -> str:
        """For people: `0.0001 .. 1.0, log`."""
        return _range_text(self, self.step)

    def suggest(self, trial: Suggester, path: str) -> float:
        """Ask `trial` for the value of `path`."""
        return trial.suggest_float(path, self.low, self.high, log=self.log, step=self.step)

    def problem(self, value: Any) -> str | None:
        """Why `value` is not of this domain, None when it is."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"must be a number, found {value!r}"
        if value == 0 and self.zero is not None:
            return None
        if not self.low <= value <= self.high:
            return f"must lie in {self.range}, found {value!r}"
        if self.step is not None:
            steps = (value - self.low) / self.step
            if abs(steps - round(steps)) >= 1e-8:  # the slack Optuna allows its own suggestions
                return f"must be {self.low} and a multiple of step {self.step}, found {value!r}"
        return None

    def values(self) -> list[float] | None:
        """All values in order, None when there is no end of them."""
        size = self.size
        if size is None or self.step is None:
            return None if size is None else [self.low]
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return [float(low + step * i) for i in range(size)]

    @property
    def size(self) -> int | None:
        """How many values there are, None for a continuum."""
        if self.low == self.high:
            return 1
        if self.step is None:
            return None
        low, high, step = (Decimal(str(x)) for x in (self.low, self.high, self.step))
        return int((high - low) / step) + 1

    def raw(self, sources: bool = True) -> dict[str, Any]:
        """The form of the sweep file."""
        return _raw_range(self, sources, self.step)


@dataclass(frozen=True)
class Int:
    """A whole number from low to high, both included.

    log: uniform in the logarithm (low at least 1, step 1). step: only low, low + step, ... up to high, one of them.
    zero, default, source: as for Float.
    Raises UserError for bounds that are not whole, low above high, and log together with step.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1
    zero: float | None = None
    default: int | None = None
    source: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("low", "high", "step", "default"):
            if getattr(self, name) is not None or name != "default":
                object.__setattr__(self, name, whole("Int", name, getattr(self, name)))
        check_range("Int", self.low, self.high, self.log, self.step, self.step != 1)
        if self.zero is not None:
            check_zero("Int", self.zero)
        check_told("Int", self.default, self.source, self.problem(self.default))

    kind = "int"
    scale = None

    @property
    def range(self) -> str:
        """For people: `16 .. 256, step 16`."""
        return _range_text(self, None if self.step == 1 else self.step)

    def suggest(self, trial: Suggester, path: str) -> int:
        """Ask `trial` for the value of `path`."""
        return trial.suggest_int(path, self.low, self.high, log=self.log, step=self.step)

    def problem(self, value: Any) -> str | None:
        """Why `value` is not of this domain, None when it is."""
        if isinstance(value, bool) or not isinstance(value, int):
            return f"must be a whole number, found {value!r}"
        if value == 0 and self.zero is not None:
            return None
        if not self.low <= value <= self.high:
            return f"must lie in {self.range}, found {value!r}"
        if (value - self.low) % self.step:
            return f"must be {self.low} and a multiple of step {self.step}, found {value!r}"
        return None

    def values(self) -> list[int]:
        """All values in order."""
        return list(range(self.low, self.high + 1, self.step))

    @property
    def size(self) -> int:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def raw(self, sources: bool = True) -> dict[str, Any]:
        """The form of the sweep file."""
        return _raw_range(self, sources, None if self.step == 1 else self.step)


Branches: TypeAlias = "Mapping[Scalar, Mapping[str, Any] | None]"


@dataclass(frozen=True, init=False)
class Choice:
    """One of a few values: of a list, or of a mapping whose values bring their own parameters, nested to any depth.

        Choice(["sgd", "adamw"])
        Choice({"constant": {}, "cosine": {"schedule.warmup_fraction": Float(0, 0.1)}})

    A list keeps its order. A mapping's values are sorted (numbers, then the rest by name), because a mapping has no
    order to rely on and Optuna takes the same choices in another order for another parameter.
    default, source: as for Float; None is no default.
    Raises UserError for no choices, two that are equal (1, 1.0 and True are), NaN, infinity, and other types.
    """

    choices: tuple[Scalar, ...]
    branches: tuple[Space, ...]
    default: Scalar
    source: str | None

    def __init__(self, choices: Sequence[Scalar] | Branches, default: Scalar = None, source: str | None = None) -> None:
        from hpo.space.tree import Space  # a branch is a space again

        if isinstance(choices, str | bytes) or not isinstance(choices, Mapping | Sequence):
            raise DomainError("Choice", f"choices must be a list, or a mapping of choices to spaces, found {choices!r}")
        given = choices if isinstance(choices, Mapping) else dict.fromkeys(range(len(choices)))
        values: list[Scalar] = list(choices)
        check_choices(values)
        spaces = [branch if isinstance(branch, Space) else Space(branch or {}, where="") for branch in given.values()]
        if isinstance(choices, Mapping):
            order = sorted(range(len(values)), key=lambda i: _sort_key(values[i]))
            values, spaces = [values[i] for i in order], [spaces[i] for i in order]
        object.__setattr__(self, "choices", tuple(values))
        object.__setattr__(self, "branches", tuple(spaces))
        object.__setattr__(self, "default", default)
        object.__setattr__(self, "source", source)
        if any(space.ties for space in spaces):
            raise DomainError("Choice", "a tie stands at the top of the space, not in a branch")
        check_told("Choice", default, source, self.problem(default))

    kind = "choice"
    scale = zero = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Choice):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        # 1 and True are equal in Python, and are not the same choice
        values = tuple((type(value), value) for value in self.choices)
        return values, self.branches, type(self.default), self.default

    @property
    def range(self) -> str:
        """For people: `constant | cosine`."""
        return " | ".join(str(choice) for choice in self.choices)

    def branch(self, value: Any) -> Space:
        """The parameters that `value` brings; KeyError when it is no choice."""
        for choice, space in zip(self.choices, self.branches, strict=True):
            if _same(choice, value):
                return space
        raise KeyError(value)

    def suggest(self, trial: Suggester, path: str) -> Scalar:
        """Ask `trial` for the choice at `path`; the branch's own parameters are the space's business."""
        value: Scalar = trial.suggest_categorical(path, self.choices)
        return value

    def problem(self, value: Any) -> str | None:
        """Why `value` is not of this domain, None when it is."""
        if any(_same(choice, value) for choice in self.choices):
            return None
        return f"must be one of {self.range}, found {value!r}"

    def values(self) -> list[Scalar]:
        """All values in order."""
        return list(self.choices)

    def raw(self, sources: bool = True) -> dict[str, Any]:
        """The form of the sweep file; JSON keeps it, so that branches of choices that are no strings stand in pairs."""
        told = _told(self, sources)
        if not any(self.branches):
            return {"choices": list(self.choices), **told}
        pairs = [(value, space.to_raw(sources)) for value, space in zip(self.choices, self.branches, strict=True)]
        if all(isinstance(value, str) for value in self.choices):
            return {"choices": dict(pairs), **told}
        return {"choices": [list(pair) for pair in pairs], **told}


Domain: TypeAlias = Float | Int | Choice


@dataclass(frozen=True)
class Parameter:
    """One parameter as it is shown: its path, its domain, and when it is searched.

    when: the ways to reach it, each a chain of (path of a choice, value); empty for one that is always searched.
    """

    path: str
    domain: Domain
    when: tuple[tuple[tuple[str, Scalar], ...], ...] = ()

    def __str__(self) -> str:
        condition = " or ".join(" and ".join(f"{path} = {value}" for path, value in chain) for chain in self.when)
        return f"{self.path}: {self.domain.kind} {self.domain.range}" + (f"  (when {condition})" if condition else "")


def _same(choice: Scalar, value: Any) -> bool:
    """Equal, and not a boolean for a number; 1 and 1.0 are the same."""
    return bool(choice == value) and isinstance(choice, bool) == isinstance(value, bool)


def _sort_key(value: Scalar) -> tuple[int, float, str]:
    return (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def _range_text(domain: Float | Int, step: float | None) -> str:
    text = f"{domain.low} .. {domain.high}" + (", log" if domain.log else "")
    text += ", log of 1 - x" if domain.scale else ""
    text += f", step {step}" if step is not None else ""
    return text + (f", or 0 ({domain.zero:.0%})" if domain.zero is not None else "")


def _raw_range(domain: Float | Int, sources: bool, step: float | None) -> dict[str, Any]:
    raw: dict[str, Any] = {"type": domain.kind, "low": domain.low, "high": domain.high}
    raw |= {"log": True} if domain.log else {}
    more = {"step": step, "scale": domain.scale, "zero": domain.zero}
    return raw | {key: value for key, value in more.items() if value is not None} | _told(domain, sources)


def _told(domain: Domain, sources: bool) -> dict[str, Any]:
    keys = ("default", "source") if sources else ("default",)
    return {key: getattr(domain, key) for key in keys if getattr(domain, key) is not None}
