"""Scales that a study keeps in its own way, ties between parameters, and spaces put together."""

from __future__ import annotations

import math
import pickle
from typing import Any

import optuna
import pytest

from hpo.errors import UserError
from hpo.space import Choice, Float, Int, Space
from tests.dice import Dice

DECAY = Float(1e-6, 1e-2, log=True, zero=0.2, default=0.0, source="here")
MOMENTUM = Float(0.8, 0.999, scale="one_minus_log", default=0.9)
SPACE = Space(
    {
        "optimizer.name": Choice({"adamw": {}, "sgd": {"optimizer.momentum": MOMENTUM}}, default="sgd"),
        "optimizer.weight_decay": DECAY,
        "crop": Int(1, 4, zero=0.5, default=2),
        "ema": Float(0.9, 0.9999, scale="one_minus_log", zero=0.3),
    }
)


def test_a_study_holds_plain_parameters() -> None:
    assert set(SPACE.stored.parameters()) == {
        "optimizer.name", "optimizer.momentum.one_minus", "optimizer.weight_decay.on", "optimizer.weight_decay",
        "crop.on", "crop", "ema.on", "ema.one_minus",
    }  # fmt: skip
    assert SPACE.stored.parameters()["optimizer.momentum.one_minus"] == Float(0.001, 0.2, log=True)
    assert SPACE.zeros() == {"optimizer.weight_decay.on": 0.2, "crop.on": 0.5, "ema.on": 0.3}
    assert Space({"a": Float(0, 1)}).stored.stored == Space({"a": Float(0, 1)})


def test_what_a_study_holds_is_what_the_configuration_gets() -> None:
    params = {
        "optimizer.name": "sgd", "optimizer.momentum.one_minus": 0.01, "optimizer.weight_decay.on": False,
        "crop.on": True, "crop": 3, "ema.on": True, "ema.one_minus": 0.0003,
    }  # fmt: skip
    SPACE.validate(params)
    assert SPACE.settings(params) == {
        "crop": 3,
        "ema": 1 - 0.0003,
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.99,
        "optimizer.weight_decay": 0.0,
    }
    off = SPACE.settings({**params, "crop.on": False, "ema.on": False, "optimizer.name": "adamw"})
    assert off == {"crop": 0, "ema": 0.0, "optimizer.name": "adamw", "optimizer.weight_decay": 0.0}
    assert isinstance(off["crop"], int)
    with pytest.raises(UserError, match=r"not searched with these choices"):
        SPACE.validate({**params, "optimizer.weight_decay": 1e-3})


def test_the_defaults_by_the_names_of_the_study() -> None:
    assert SPACE.defaults() == {
        "optimizer.name": "sgd", "optimizer.momentum.one_minus": 0.1, "optimizer.weight_decay.on": False,
        "crop.on": True, "crop": 2,
    }  # fmt: skip


def test_a_plain_optuna_reads_it() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial(SPACE.defaults())
    for _ in range(20):
        trial = study.ask()
        SPACE.validate(SPACE.suggest(trial))
        study.tell(trial, 1.0)
    assert SPACE.settings(study.trials[0].params)["optimizer.momentum"] == 0.9
    momenta = [t.params["optimizer.momentum.one_minus"] for t in study.trials if t.params["optimizer.name"] == "sgd"]
    assert all(0.001 <= value <= 0.2 for value in momenta)
    assert study.trials_dataframe()["params_crop"].isna().any()


def test_scales_are_described() -> None:
    lines = [str(parameter) for parameter in SPACE.describe()]
    assert "optimizer.weight_decay: float 1e-06 .. 0.01, log, or 0 (20%)" in lines
    assert "optimizer.momentum: float 0.8 .. 0.999, log of 1 - x  (when optimizer.name = sgd)" in lines


def test_a_grid_takes_no_switch_and_an_exhaustive_search_takes_both_ways() -> None:
    space = Space({"a": Float(1, 3, step=1, zero=0.5), "b": Choice(["x", "y"])})
    assert space.size() == 4 * 2
    assert space.endless() is None
    with pytest.raises(UserError, match=r"a: a grid cannot hold parameters of a branch"):
        space.grid()
    assert Space({"a": Float(0.9, 0.9, scale="one_minus_log")}).grid() == {"a.one_minus": [0.1]}


# ---------------------------------------------------------------- mistakes

F = {"low": 0.1, "high": 0.9}
BAD: list[tuple[Any, str]] = [
    ({"a": {**F, "zero": 1}}, "space.a: zero must be a probability between 0 and 1, found 1"),
    ({"a": {**F, "zero": True}}, "space.a: zero must be a probability between 0 and 1, found True"),
    ({"a": {**F, "zero": 0.0}}, "space.a: zero must be a probability between 0 and 1, found 0.0"),
    ({"a": {**F, "scale": "log"}}, "space.a: scale must be one_minus_log, found 'log'; write log: true for a"),
    ({"a": {**F, "scale": "one_minus"}}, "space.a: scale must be one_minus_log, found 'one_minus'"),
    ({"a": {**F, "scale": "one_minus_log", "log": True}}, "space.a: scale and log exclude each other, found both"),
    ({"a": {**F, "scale": "one_minus_log", "step": 0.1}}, "space.a: scale and step exclude each other, found both"),
    ({"a": {"low": 0.1, "high": 1.0, "scale": "one_minus_log"}},
     "space.a: low and high must lie in 0 .. 1, below 1, with scale one_minus_log, found 0.1 and 1.0"),
    ({"n": {"low": 1, "high": 9, "type": "int", "scale": "one_minus_log"}}, "space.n.scale: is of floats; whole"),
    ({"a": {**F, "default": 1.0}}, "space.a: default must lie in 0.1 .. 0.9, found 1.0"),
    ({"a": {**F, "default": 0.0}}, "space.a: default must lie in 0.1 .. 0.9, found 0.0"),
    ({"a": {**F, "default": "x"}}, "space.a: default must be a number, found 'x'"),
    ({"a": {"choices": ["x"], "default": "y"}}, "space.a: default must be one of x, found 'y'"),
    ({"a": {"choices": ["x"], "zero": 0.5}}, "space.a: choices stand alone, found zero beside them"),
    ({"a": {**F, "source": 3}}, "space.a: source must be text, found 3"),
    ({"a": {**F, "zero": 0.5}, "a.on": F}, "space.a.on: is how the study calls a part of a; keep one"),
    ({"a": F, "tie": []}, "space.tie: must be a mapping such as {optimizer.weight_decay:"),
    ({"a": F, "tie": {"b": 3}}, 'space.tie.b: must be an expression such as "0.1 * optimizer.lr", found 3'),
    ({"a": F, "tie": {"b": "3"}}, "space.tie.b: '3' names no other parameter; fixed values belong in base:"),
    ({"a": F, "tie": {"b": "0.1 *"}}, "space.tie.b: '0.1 *' is no expression (numbers, paths, + - * / **"),
    ({"a": F, "tie": {"b": "a if a else 2"}}, "space.tie.b: 'a if a else 2' is not allowed in an expression"),
    ({"a": F, "tie": {"b": "a.real.__class__()"}}, "space.tie.b: unknown function 'a.real.__class__'"),
    ({"a": F, "tie": {"b": "(lambda: a)()"}}, "space.tie.b: unknown function 'lambda: a'"),
    ({"a": F, "tie": {"b": "a[0]"}}, "space.tie.b: 'a[0]' is not allowed"),
    ({"a": F, "tie": {"b": "a * 'x'"}}, "space.tie.b: \"'x'\" is not allowed"),
    ({"a": F, "tie": {"b": "a // 2"}}, "space.tie.b: 'a // 2' is not allowed"),
    ({"a": F, "tie": {"b": "sqr(a)"}}, "space.tie.b: unknown function 'sqr'; did you mean 'sqrt'? (allowed: min"),
    ({"a": F, "tie": {"b": "max(a)"}}, "space.tie.b: 'max(a)': max takes two or more"),
    ({"a": F, "tie": {"b": "log(a, 2)"}}, "space.tie.b: 'log(a, 2)': log takes one number"),
    ({"a": F, "tie": {"b": "+".join(["a"] * 300)}}, "space.tie.b: must have at most 500 characters, found 599"),
    ({"a": F, "tie": {"a": "a"}}, "space.tie.a: is searched too; keep one"),
    ({"alpha": F, "tie": {"b": "2 * alhpa"}},
     "space.tie.b: 'alhpa' is not searched; did you mean 'alpha'? (searched: alpha, b; else write its number)"),
    ({"a": {"choices": ["x", "y"]}, "tie": {"b": "2 * a"}}, "space.tie.b: a is no number, it is one of x | y"),
    ({"a": F, "tie": {"b": "c + a", "c": "b"}}, "space.tie.b: goes in a circle (b needs c needs b)"),
    ({"a": {"choices": {"x": {"tie": {"b": "a"}}}}}, "space.a.choices.x.tie: a tie stands at the top of the space"),
    ({"a": {"choices": ["x"]}, "use": F}, "space.use: is a key of the space itself, not a parameter's path"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "sentence"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_mistakes_end_in_a_sentence_that_names_the_path(raw: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        Space.parse(raw)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------- ties

TIED = Space(
    {"lr": Float(1e-4, 1.0, log=True), "kind": Choice({"plain": {}, "deep": {"depth": Int(0, 4)}})},
    tie={"decay": "0.1 * lr ** 2 + max(lr, 1e-3, warm) - sqrt(4)", "warm": "-(-lr) / 2", "width": "8 / depth"},
)


def test_a_tied_value_follows_from_what_was_drawn() -> None:
    settings = TIED.settings({"lr": 0.01, "kind": "plain"})
    assert settings == {"kind": "plain", "lr": 0.01, "warm": 0.005, "decay": pytest.approx(0.1 * 1e-4 + 0.01 - 2)}
    assert TIED.settings({"lr": 0.01, "kind": "deep", "depth": 2})["width"] == 4.0
    assert set(TIED.suggest(Dice(0))) <= set(TIED.parameters()) == {"lr", "kind", "depth"}
    assert pickle.loads(pickle.dumps(TIED)).settings({"lr": 0.01, "kind": "plain"}) == settings


@pytest.mark.parametrize(
    ("tie", "params", "sentence"),
    [
        ("8 / depth", {"depth": 0}, "space.tie.t: '8 / depth' divides by zero with depth = 0"),
        ("log(depth)", {"depth": 0}, "space.tie.t: 'log(depth)' has no value with depth = 0"),
        ("depth ** 0.5", {"depth": -1}, "space.tie.t: 'depth ** 0.5' has no value with depth = -1"),
        ("exp(depth)", {"depth": 9999}, "space.tie.t: 'exp(depth)' has no value with depth = 9999"),
        ("9 ** 9 ** 9 ** depth", {"depth": 9}, "has no value with depth = 9"),
        ("1e300 * depth * 1e300", {"depth": 9}, "has no finite value with depth = 9"),
    ],
)
def test_a_tie_without_a_value_says_so(tie: str, params: dict[str, Any], sentence: str) -> None:
    space = Space({"depth": Int(-1, 9999)}, tie={"t": tie})
    with pytest.raises(UserError) as caught:
        space.settings(params)
    assert sentence in str(caught.value)


def test_a_field_of_whole_numbers_takes_whole_numbers() -> None:
    raw = {"depth": {"low": 1, "high": 9, "type": "int"}, "tie": {"width": "depth / 2"}}
    space = Space.parse(raw, lambda path: "int" if path == "width" else None)
    width = space.settings({"depth": 4})["width"]
    assert (width, type(width)) == (2, int)
    with pytest.raises(UserError, match=r"'depth / 2' must be a whole number, found 2\.5 with depth = 5"):
        space.settings({"depth": 5})


# ------------------------------------------------------------------ together


def test_spaces_are_added() -> None:
    one, two = Space({"a": Float(0, 1)}, tie={"t": "a"}), Space({"a": Float(0, 1), "b": Int(1, 2)})
    assert one + two == Space({"a": Float(0, 1), "b": Int(1, 2)}, tie={"t": "a"})
    with pytest.raises(UserError, match=r"space\.a: is in both spaces, with other domains; keep one"):
        one + Space({"a": Float(0, 2)})
    with pytest.raises(UserError, match=r"space\.t: is tied in both spaces, in other ways; keep one"):
        one + Space({"a": Float(0, 1)}, tie={"t": "2 * a"})


def test_what_is_laid_over_a_space_replaces_it_in_branches_too() -> None:
    kind = Choice({"x": {"a": Float(0, 1), "b": Int(1, 2)}, "y": {"b": Int(1, 2)}}, default="y")
    below = Space({"kind": kind, "c": Int(1, 3)}, tie={"t": "c", "u": "c"})
    above = Space({"a": Float(0, 9)})
    found = below.laid_under(above, Space({"a": Float(0, 1)}, tie={"c": "a"}).ties)
    left = Choice({"x": {"b": Int(1, 2)}, "y": {"b": Int(1, 2)}}, default="y")
    assert found == Space({"kind": left, "a": Float(0, 9)}, tie={"c": "a", "t": "c", "u": "c"})
    assert "kind" not in below.laid_under(Space({"b": Int(1, 2)}), {}).laid_under({"kind": Int(1, 2)}, {}).defaults()


def test_one_minus_is_exact_from_one_half_on() -> None:
    for stored in (0.1, 0.05, 0.02, 0.001, 1e-4, 0.3, math.ulp(1.0)):
        space = Space({"m": Float(0.0, 1 - math.ulp(1.0), scale="one_minus_log", default=1 - stored)})
        assert space.settings(space.defaults())["m"] == 1 - stored
