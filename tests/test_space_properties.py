"""By hypothesis: of no space is anything lost, invalid or unreachable."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Sequence
from typing import Any

import optuna
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hpo import yaml12
from hpo.space import Choice, Float, Int, Space
from tests.dice import Dice

NAMES = [f"{a}.{b}" for a in "abcd" for b in "xyz"]


ZEROS = st.none() | st.floats(0.01, 0.99)
SOURCES = st.none() | st.just("Goodfellow et al. 2016")


@st.composite
def floats(draw: st.DrawFn) -> Float:
    shape = draw(st.sampled_from(["plain", "log", "step", "one_minus"]))
    more = {"zero": draw(ZEROS), "source": draw(SOURCES)}
    if shape == "step":
        low, step = draw(st.integers(-50, 50)), draw(st.sampled_from([1, 5, 25, 100]))
        default = low / 100 if draw(st.booleans()) else None
        return Float(low / 100, (low + step * draw(st.integers(0, 40))) / 100, step=step / 100, default=default, **more)
    least, most = {"plain": (-1e12, 1e12), "log": (1e-12, 1e12), "one_minus": (0.0, 0.9999)}[shape]
    low, high = sorted([draw(st.floats(least, most)), draw(st.floats(least, most))])
    default = draw(st.none() | st.floats(low, high))
    scale = "one_minus_log" if shape == "one_minus" else None
    return Float(low, high, log=shape == "log", scale=scale, default=default, **more)


@st.composite
def ints(draw: st.DrawFn) -> Int:
    if draw(st.booleans()):
        low, high = sorted([draw(st.integers(1, 1000)), draw(st.integers(1, 1000))])
        return Int(low, high, log=True, zero=draw(ZEROS), default=draw(st.none() | st.integers(low, high)))
    low, step = draw(st.integers(-1000, 1000)), draw(st.integers(1, 50))
    return Int(low, low + step * draw(st.integers(0, 40)), step=step)


SCALARS = st.none() | st.booleans() | st.integers(2, 99) | st.floats(2.5, 9.5) | st.text("abc.- ", max_size=4)


@st.composite
def spaces(draw: st.DrawFn, names: tuple[str, ...] = tuple(NAMES), depth: int = 3) -> Space:
    """Spaces of every shape; branches of one choice may share paths with the same domain."""
    taken = draw(st.lists(st.sampled_from(names), max_size=4, unique=True)) if names else []
    left = tuple(name for name in names if name not in taken)
    domains: dict[str, Any] = {}
    for name in taken:
        kind = draw(st.sampled_from(["float", "int", "choice", "branches"] if depth else ["float", "int", "choice"]))
        if kind in ("float", "int"):
            domains[name] = draw(floats() if kind == "float" else ints())
            continue
        values = draw(st.lists(SCALARS, min_size=1, max_size=4, unique=True))
        if kind == "choice":
            domains[name] = Choice(values, default=draw(st.sampled_from([None, *values])), source=draw(SOURCES))
            continue
        # each choice has names of its own, so that only its branches can meet
        own, left = left[: len(left) // 2], left[len(left) // 2 :]
        shared = draw(spaces(own[:2], 0))
        domains[name] = Choice(
            {v: {**(shared if draw(st.booleans()) else {}), **draw(spaces(own[2 + i :: 4], depth - 1))}
             for i, v in enumerate(values)}
        )  # fmt: skip
    return Space(domains)


@st.composite
def tied(draw: st.DrawFn) -> Space:
    """A space with ties over its numbers, and ties over ties."""
    space = draw(spaces())
    numbers = [path for path, domain in space.parameters().items() if not isinstance(domain, Choice)]
    ties: dict[str, str] = {}
    for name in draw(st.sampled_from([(), ("t.x",), ("t.x", "t.y")])) if numbers else ():
        other = draw(st.sampled_from([*numbers, *ties]))
        ties[name] = draw(st.sampled_from(["0.1 * {0}", "min({0}, 3) - {0} / 7", "-({0} + 1e-3)"])).format(other)
    return Space(space, tie=ties)


@settings(max_examples=60, deadline=None)
@given(tied())
def test_nothing_is_lost_in_raw_json_and_yaml(space: Space) -> None:
    assert Space.parse(space.to_raw()) == space
    assert Space.parse(space.to_raw()).to_raw() == space.to_raw()  # equal spaces may have other sources
    assert Space.parse(space.to_raw(sources=False)) == space
    assert Space.from_json(space.to_json()) == space
    assert hash(Space.from_json(space.to_json())) == hash(space)
    assert Space.from_json(json.dumps(json.loads(space.to_json()), sort_keys=True)) == space
    assert Space.parse(yaml12.load(yaml12.dump({"space": space.to_raw()}), "f")["space"]) == space
    assert pickle.loads(pickle.dumps(space)) == space


@settings(max_examples=60, deadline=None)
@given(tied(), st.integers(0, 10**6))
def test_suggestions_are_valid(space: Space, seed: int) -> None:
    params = space.suggest(Dice(seed))
    space.validate(params)
    assert set(space.stored) <= set(params) <= set(space.stored.parameters())
    settings = space.settings(params)
    assert set(space) <= settings.keys() - set(space.ties) <= set(space.parameters())
    for path, domain in space.parameters().items():
        if path in settings and not isinstance(domain, Choice) and domain.scale is None:
            assert domain.problem(settings[path]) is None


@settings(max_examples=60, deadline=None)
@given(spaces())
def test_defaults_are_points_of_their_domains(space: Space) -> None:
    told = {path: domain.default for path, domain in space.parameters().items() if domain.default is not None}
    stored = space.stored.parameters()
    defaults = space.defaults()
    for name, value in defaults.items():
        assert stored[name].problem(value) is None
    if set(told) == set(space.parameters()):
        taken = {name: value for name, value in defaults.items() if name in space.suggest(Taking(defaults))}
        space.validate(taken)
        for path, value in space.settings(taken).items():
            # of two numbers below one half, one may be the other but for its last bit, once taken from 1 and back
            assert value == told[path] or math.isclose(value, told[path], abs_tol=2.3e-16)


class Taking(Dice):
    """A trial that was enqueued with some values."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(0)
        self.values = values

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        return self.values[name] if name in self.values else super().suggest_float(name, low, high, **options)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        return self.values[name] if name in self.values else super().suggest_int(name, low, high, **options)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.values[name] if name in self.values else super().suggest_categorical(name, choices)


@settings(max_examples=20, deadline=None)
@given(spaces(), st.integers(0, 2**31 - 1))
def test_optunas_suggestions_are_valid_and_silent(space: Space, seed: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(3):
        space.validate(space.suggest(study.ask()))


@settings(max_examples=30, deadline=None)
@given(spaces())
def test_every_branch_is_reached(space: Space) -> None:
    reached: set[str] = set()
    for seed in range(800):
        reached |= set(space.suggest(Dice(seed)))
        if reached == set(space.stored.parameters()):
            return
    raise AssertionError(f"never asked: {set(space.stored.parameters()) - reached}")


@settings(max_examples=40, deadline=None)
@given(spaces(depth=0))
def test_grids_hold_points_of_the_space(space: Space) -> None:
    size = space.size()
    assume(size is not None and not space.zeros())
    grid = space.grid()
    assert math.prod(len(values) for values in grid.values()) == size
    for path, values in grid.items():
        assert values
        assert all(space.stored[path].problem(value) is None for value in values)
