"""The three domains a parameter can have, Float, Int and Choice: frozen, checked when made, compared by value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from hpo.errors import UserError

if TYPE_CHECKING:
    from hpo.space.tree import Space

Scalar: TypeAlias = bool | int | float | str | None
"""What a choice can be: what Optuna can keep in every storage."""


MOST = 2**53
"""Samplers compute in floats: beyond this not every whole number is one."""


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


class DomainError(UserError):
    """A domain that cannot be; `text` says why without a key, so that a file's loader can put its own in front."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text = kind, text

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return type(self), (self.kind, self.text)


@dataclass(frozen=True)
class Float:
    """A real number from low to high, both included.

    log: uniform in the logarithm (low above 0). step: only low, low + step, ... up to high, which must be one of them.
    Raises UserError for bounds that are no finite numbers, low above high, and log together with step.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high") if self.step is None else ("low", "high", "step"):
            object.__setattr__(self, name, float(_number("Float", name, getattr(self, name))))
        _check_range("Float", self.low, self.high, self.log, self.step, self.step is not None)

    kind = "float"

    @property
    def range(self) -> str:
        """For people: `0.0001 .. 1.0, log`."""
        return _range_text(self.low, self.high, self.log, self.step)

    def suggest(self, trial: Suggester, path: str) -> float:
        """Ask `trial` for the value of `path`."""
        return trial.suggest_float(path, self.low, self.high, log=self.log, step=self.step)

    def problem(self, value: Any) -> str | None:
        """Why `value` is not of this domain, None when it is."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"must be a number, found {value!r}"
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

    def raw(self) -> dict[str, Any]:
        """The form of the sweep file."""
        return _raw_range("float", self.low, self.high, self.log, self.step)


@dataclass(frozen=True)
class Int:
    """A whole number from low to high, both included.

    log: uniform in the logarithm (low at least 1, step 1). step: only low, low + step, ... up to high, one of them.
    Raises UserError for bounds that are not whole, low above high, and log together with step.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            object.__setattr__(self, name, _whole("Int", name, getattr(self, name)))
        _check_range("Int", self.low, self.high, self.log, self.step, self.step != 1)

    kind = "int"

    @property
    def range(self) -> str:
        """For people: `16 .. 256, step 16`."""
        return _range_text(self.low, self.high, self.log, None if self.step == 1 else self.step)

    def suggest(self, trial: Suggester, path: str) -> int:
        """Ask `trial` for the value of `path`."""
        return trial.suggest_int(path, self.low, self.high, log=self.log, step=self.step)

    def problem(self, value: Any) -> str | None:
        """Why `value` is not of this domain, None when it is."""
        if isinstance(value, bool) or not isinstance(value, int):
            return f"must be a whole number, found {value!r}"
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

    def raw(self) -> dict[str, Any]:
        """The form of the sweep file."""
        return _raw_range("int", self.low, self.high, self.log, None if self.step == 1 else self.step)


Branches: TypeAlias = "Mapping[Scalar, Mapping[str, Any] | None]"


@dataclass(frozen=True, init=False)
class Choice:
    """One of a few values: of a list, or of a mapping whose values bring their own parameters, nested to any depth.

        Choice(["sgd", "adamw"])
        Choice({"constant": {}, "cosine": {"schedule.warmup_fraction": Float(0, 0.1)}})

    A list keeps its order. A mapping's values are sorted (numbers, then the rest by name), because a mapping has no
    order to rely on and Optuna takes the same choices in another order for another parameter.
    Raises UserError for no choices, two that are equal (1, 1.0 and True are), NaN, infinity, and other types.
    """

    choices: tuple[Scalar, ...]
    branches: tuple[Space, ...]

    def __init__(self, choices: Sequence[Scalar] | Branches) -> None:
        from hpo.space.tree import Space  # a branch is a space again

        if isinstance(choices, str | bytes) or not isinstance(choices, Mapping | Sequence):
            raise DomainError("Choice", f"choices must be a list, or a mapping of choices to spaces, found {choices!r}")
        given = choices if isinstance(choices, Mapping) else dict.fromkeys(range(len(choices)))
        values: list[Scalar] = list(choices)
        _check_choices(values)
        spaces = [branch if isinstance(branch, Space) else Space(branch or {}, where="") for branch in given.values()]
        if isinstance(choices, Mapping):
            order = sorted(range(len(values)), key=lambda i: _sort_key(values[i]))
            values, spaces = [values[i] for i in order], [spaces[i] for i in order]
        object.__setattr__(self, "choices", tuple(values))
        object.__setattr__(self, "branches", tuple(spaces))

    kind = "choice"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Choice):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        # 1 and True are equal in Python, and are not the same choice
        return tuple((type(value), value) for value in self.choices), self.branches

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

    def raw(self) -> dict[str, Any]:
        """The form of the sweep file; JSON keeps it, so that branches of choices that are no strings stand in pairs."""
        if not any(self.branches):
            return {"choices": list(self.choices)}
        pairs = [(value, space.to_raw()) for value, space in zip(self.choices, self.branches, strict=True)]
        if all(isinstance(value, str) for value in self.choices):
            return {"choices": dict(pairs)}
        return {"choices": [list(pair) for pair in pairs]}


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


def _number(kind: str, name: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DomainError(kind, f"{name} must be a number, found {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise DomainError(kind, f"{name} must be finite, found {value!r}")
    if isinstance(value, int) and abs(value) > MOST:
        raise DomainError(kind, f"{name} must lie within 2**53, found {value!r}")
    return value


def _whole(kind: str, name: str, value: Any) -> int:
    number = _number(kind, name, value)
    if abs(number) > MOST:
        raise DomainError(kind, f"{name} must lie within 2**53, found {value!r}")
    if number != int(number):
        raise DomainError(kind, f"{name} must be a whole number, found {value!r}")
    return int(number)


def _check_range(kind: str, low: float, high: float, log: Any, step: float | None, stepped: bool) -> None:
    if not isinstance(log, bool):
        raise DomainError(kind, f"log must be true or false, found {log!r}")
    if low > high:
        raise DomainError(kind, f"low must not be above high, found low {low} and high {high}")
    if log and low <= 0:
        raise DomainError(kind, f"low must be above 0 with log, found {low}")
    if step is not None and step <= 0:
        raise DomainError(kind, f"step must be above 0, found {step}")
    if log and stepped:
        raise DomainError(kind, f"log and step exclude each other, found both (step {step})")
    if step is not None:
        _check_divisible(kind, low, high, step)


def _check_divisible(kind: str, low: float, high: float, step: float) -> None:
    # decimal, as Optuna checks it: 0.3 is three steps of 0.1 for a reader, though not for a float
    d_low, d_high, d_step = (Decimal(str(x)) for x in (low, high, step))
    if (d_high - d_low) / d_step > MOST:
        raise DomainError(kind, f"step {step} is too small for the range from {low} to {high}")
    if (d_high - d_low) % d_step:
        below = d_low + (d_high - d_low) // d_step * d_step
        raise DomainError(
            kind, f"high must be low {low} and a multiple of step {step}, so {below} or {below + d_step}, found {high}"
        )


def _check_choices(values: Sequence[Any]) -> None:
    if not values:
        raise DomainError("Choice", "choices must not be empty")
    for value in values:
        if value is not None and not isinstance(value, bool | int | float | str):
            raise DomainError(
                "Choice",
                f"choices must be text, numbers, true, false or null, found {value!r}; "
                "write a mapping of choices to give them parameters of their own",
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise DomainError("Choice", f"choices must be finite, found {value!r}")
    for i, value in enumerate(values):
        for earlier in values[:i]:
            if value == earlier:
                text = (
                    f"{value!r} twice"
                    if type(value) is type(earlier)
                    else f"{earlier!r} and {value!r}, equal for Optuna"
                )
                raise DomainError("Choice", f"choices must differ, found {text}")


def _same(choice: Scalar, value: Any) -> bool:
    """Equal, and not a boolean for a number; 1 and 1.0 are the same."""
    return bool(choice == value) and isinstance(choice, bool) == isinstance(value, bool)


def _sort_key(value: Scalar) -> tuple[int, float, str]:
    return (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def _range_text(low: float, high: float, log: bool, step: float | None) -> str:
    return f"{low} .. {high}" + (", log" if log else "") + (f", step {step}" if step is not None else "")


def _raw_range(kind: str, low: float, high: float, log: bool, step: float | None) -> dict[str, Any]:
    raw: dict[str, Any] = {"type": kind, "low": low, "high": high}
    if log:
        raw["log"] = True
    if step is not None:
        raw["step"] = step
    return raw
