"""Search spaces: every rule with its sentence."""

from __future__ import annotations

import math
import pickle
from typing import Any

import optuna
import pytest

from hpo import yaml12
from hpo.errors import UserError
from hpo.space import Choice, Float, Int, Space
from tests.dice import Dice

YAML = """
optimizer.lr: {low: 1e-4, high: 1.0, log: true}
optimizer:
  momentum: {low: 0.0, high: 0.9, step: 0.3}
model.width: {low: 16, high: 64, type: int, step: 16}
initializer.name: {choices: [kaiming_normal, orthogonal]}
regularization.mixup: {low: 0.0, high: 1.0, prob: {low: 0.0, high: 0.5}}
schedule.name:
  choices:
    constant:
    cosine: {schedule.warmup_fraction: {low: 0.0, high: 0.1}}
    step:
      schedule.warmup_fraction: {low: 0.0, high: 0.1}
      schedule: {kind: {choices: {few: {schedule.steps: {low: 1, high: 3, type: int}}, many: {}}}}
batch_size: {choices: {32: {}, 64: {optimizer.warm: {choices: [true, false]}}}}
"""
SPACE = Space.parse(yaml12.load(YAML, "f"))


def test_yaml_and_python_say_the_same() -> None:
    warmup = {"schedule.warmup_fraction": Float(0, 0.1)}
    kind = Choice({"few": {"schedule.steps": Int(1, 3)}, "many": {}})
    assert (
        Space(
            {
                "optimizer": {"lr": Float(1e-4, 1, log=True), "momentum": Float(0, 0.9, step=0.3)},
                "model": {"width": Int(16, 64, step=16)},
                "initializer.name": Choice(["kaiming_normal", "orthogonal"]),
                "regularization.mixup": Float(0, 1),
                "regularization.mixup.prob": Float(0, 0.5),
                "schedule.name": Choice(
                    {"constant": {}, "cosine": warmup, "step": {**warmup, "schedule": {"kind": kind}}}
                ),
                "batch_size": Choice({32: {}, 64: {"optimizer.warm": Choice([True, False])}}),
            }
        )
        == SPACE
    )


def test_the_tree_is_described_with_its_conditions() -> None:
    lines = [str(parameter) for parameter in SPACE.describe()]
    assert "optimizer.lr: float 0.0001 .. 1.0, log" in lines
    assert "model.width: int 16 .. 64, step 16" in lines
    assert "schedule.name: choice constant | cosine | step" in lines
    assert "schedule.warmup_fraction: float 0.0 .. 0.1  (when schedule.name = cosine or schedule.name = step)" in lines
    assert "schedule.steps: int 1 .. 3  (when schedule.name = step and schedule.kind = few)" in lines
    assert SPACE.conditional() == {"schedule.warmup_fraction", "schedule.kind", "schedule.steps", "optimizer.warm"}
    assert set(SPACE.parameters()) == set(SPACE) | SPACE.conditional()
    assert SPACE.overlaps() == [("regularization.mixup", "regularization.mixup.prob")]


def test_the_order_of_paths_changes_no_suggestion() -> None:
    backwards = Space({path: SPACE[path] for path in reversed(list(SPACE))})
    assert backwards == SPACE
    assert hash(backwards) == hash(SPACE)
    first, second = Dice(3), Dice(3)
    assert SPACE.suggest(first) == backwards.suggest(second)
    assert first.asked == second.asked


def test_choices_of_a_list_keep_their_order_and_of_a_mapping_have_one() -> None:
    assert Choice(["b", "a"]) != Choice(["a", "b"])
    assert Choice({"b": {}, "a": {}}) == Choice({"a": {}, "b": {}}) == Choice(["a", "b"])
    assert Choice({10: {}, 9: {}, "x": {}}).choices == (9, 10, "x")
    assert Choice([1]) != Choice([True])


def test_shared_paths_of_two_choices_are_asked_once_each_and_agree() -> None:
    shared = {"floor": Float(0, 1)}
    space = Space({"a": Choice({"x": shared}), "b": Choice({"y": shared})})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    params = space.suggest(study.ask())
    space.validate(params)
    assert set(params) == {"a", "b", "floor"}


def test_domains_may_stand_anywhere_in_the_raw_form() -> None:
    inner = Space({"b": Int(1, 2)})
    raw = {"a": Float(0, 1), "n": {"m": Int(0, 3)}, "c": {"choices": {"x": inner, "y": None}}}
    assert Space.parse(raw) == Space({"a": Float(0, 1), "n.m": Int(0, 3), "c": Choice({"x": inner, "y": {}})})
    assert Space.parse(inner) is inner


FIELDS = {"n": "int", "f": "float"}


def kinds(path: str) -> Any:
    return FIELDS.get(path)


def test_the_fields_type_decides() -> None:
    space = Space.parse({"n": {"low": 1e1, "high": 20}, "f": {"low": 0, "high": 1}}, kinds)
    assert space == Space({"n": Int(10, 20), "f": Float(0, 1)})
    assert Space.parse(space.to_raw(), kinds) == space


F = {"low": 0.0, "high": 1.0}
BAD: list[tuple[Any, str]] = [
    ([1], "space: must be a mapping of parameters, found [1]"),
    ({1: F}, "space: a parameter's path must be text, found 1"),
    ({"a..b": F}, "space.a..b: 'a..b' is not a path"),
    ({"a": None}, "space.a: is empty; a parameter needs {low: ..., high: ...} or {choices: [...]}"),
    ({"a": {}}, "space.a: is empty"),
    ({"a": 0.1}, "or {choices: [...]}, and fixed values belong in base:"),
    ({"a": "loguniform(1e-4, 1)"}, "space.a: found the single value 'loguniform(1e-4, 1)'"),
    ({"o": {"lr": 0.1}}, "space.o.lr: found the single value 0.1"),
    ({"a": [1, 2]}, "space.a: found the list [1, 2]"),
    ({"a": {"low": 0.0}}, "space.a.high: missing"),
    ({"a": {"high": 0.0}}, "space.a.low: missing"),
    ({"a": {"low": 0.0, "high": None}}, "space.a.high: is empty"),
    ({"a": {"low": 1, "high": 2}}, "space.a: low 1 and high 2 are whole numbers; add type: int or type: float"),
    ({"a": {"low": 2.0, "high": 1}}, "space.a: low must not be above high, found low 2.0 and high 1.0"),
    ({"n": {"low": 2, "high": 1}}, "space.n: low must not be above high, found low 2 and high 1"),
    ({"a": {**F, "log": True}}, "space.a: low must be above 0 with log, found 0.0"),
    ({"n": {"low": 0, "high": 9, "log": True}}, "space.n: low must be above 0 with log, found 0"),
    ({"a": {"low": 0.1, "high": 1.0, "log": True, "step": 0.1}}, "space.a: log and step exclude each other"),
    ({"n": {"low": 1, "high": 9, "log": True, "step": 2}}, "space.n: log and step exclude each other"),
    ({"a": {**F, "log": "yes"}}, "space.a: log must be true or false, found 'yes'"),
    ({"a": {**F, "step": 0}}, "space.a: step must be above 0, found 0.0"),
    ({"a": {**F, "step": -0.1}}, "space.a: step must be above 0, found -0.1"),
    ({"n": {"low": 0, "high": 4, "step": 0}}, "space.n: step must be above 0, found 0"),
    ({"a": {**F, "step": 0.3}}, "space.a: high must be low 0.0 and a multiple of step 0.3, so 0.9 or 1.2, found 1.0"),
    ({"n": {"low": 1, "high": 10, "step": 4}}, "high must be low 1 and a multiple of step 4, so 9 or 13, found 10"),
    ({"a": {"low": 0.0, "high": 1e300, "step": 1e-300}}, "step 1e-300 is too small for the range"),
    ({"a": {"low": math.nan, "high": 1.0}}, "space.a: low must be finite, found nan"),
    ({"a": {"low": 0.0, "high": math.inf}}, "space.a: high must be finite, found inf"),
    ({"a": {"low": True, "high": 1.0}}, "space.a: low must be a number, found True"),
    ({"a": {"low": "1e-4", "high": 1.0}}, "space.a: low must be a number, found '1e-4'"),
    ({"n": {"low": 0.5, "high": 2}}, "space.n: low must be a whole number, found 0.5"),
    ({"n": {"low": 0, "high": 10**20}}, "space.n: high must lie within 2**53"),
    ({"n": {"low": 0, "high": 1e20}}, "space.n: high must lie within 2**53"),
    ({"a": {**F, "type": "loguniform"}}, "space.a.type: must be int or float, found 'loguniform'; write log: true"),
    ({"a": {**F, "type": "real"}}, "space.a.type: must be int or float, found 'real'"),
    ({"n": {"low": 0, "high": 1, "type": "float"}}, "space.n.type: must be int, the type of this field, found 'float'"),
    ({"a": {"lo": 0.0, "high": 1.0}}, "space.a: unknown key 'lo'; did you mean 'low'?"),
    ({"a": {**F, "prior": 1}}, "space.a: unknown key 'prior';"),
    ({"a": {"choices": []}}, "space.a: choices must not be empty"),
    ({"a": {"choices": {}}}, "space.a: choices must not be empty"),
    ({"a": {"choices": ["x", "x"]}}, "space.a: choices must differ, found 'x' twice"),
    ({"a": {"choices": [1, True]}}, "space.a: choices must differ, found 1 and True, equal for Optuna"),
    ({"a": {"choices": [1, 1.0]}}, "space.a: choices must differ, found 1 and 1.0, equal for Optuna"),
    ({"a": {"choices": [{"x": 1}]}}, "space.a: choices must be text, numbers, true, false or null, found {'x': 1}"),
    ({"a": {"choices": [math.nan]}}, "space.a: choices must be finite, found nan"),
    ({"a": {"choices": "abc"}}, "space.a: choices must be a list, or a mapping of choices to spaces, found 'abc'"),
    ({"a": {"choices": 3}}, "space.a: choices must be a list"),
    ({"a": {"choices": ["x"], "low": 1}}, "space.a: choices stand alone, found low beside them"),
    ({"a": {"choices": {"x": 1}}}, "space.a.choices.x: must hold the parameters this choice brings, or nothing"),
    ({"a": {"choices": {"x": {"b": 1}}}}, "space.a.choices.x.b: found the single value 1"),
    ({"a": {"choices": {"x": {"b": {"low": 2.0, "high": 1.0}}}}}, "space.a.choices.x.b: low must not be above high"),
    ({"a": {"choices": [[1, 2]]}}, "space.a.choices: must be values, or a mapping of values to what they bring"),
    ({"a": {"choices": [[1, {}], [1, {}]]}}, "space.a: choices must differ, found 1 twice"),
    ({"a": {"choices": {"x": {"a": F}}}}, "space.a.choices.x.a: is searched outside this branch too; keep one"),
    ({"b": F, "a": {"choices": {"x": {"b": F}}}}, "space.a.choices.x.b: is searched outside this branch too"),
    ({"a": {"choices": {"x": {"b": F}, "y": {"b": {"low": 0.0, "high": 2.0}}}}},
     "space.a.choices.y.b: has another domain in another branch (0.0 .. 2.0; 0.0 .. 1.0)"),
    ({"a.b": F, "a": {"b": F}}, "space.a.b: given twice; keep one"),
    ({"parameters": {"a": F}}, "space.parameters: 'parameters' is another tool's key"),
    ({"o": {"parameters": {"a": F}}}, "space.o.parameters: 'parameters' is another tool's key"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "sentence"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_mistakes_end_in_a_sentence_that_names_the_path(raw: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        Space.parse(raw, kinds)
    assert str(caught.value).startswith("space")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        *[(key, "low") for key in ("min", "lower", "min_value", "minimum")],
        *[(key, "high") for key in ("max", "upper", "max_value", "maximum")],
        *[(key, "choices") for key in ("values", "categories", "grid_search")],
        *[(key, "log: true") for key in ("scaling", "distribution")],
        ("value", "base"),
        ("q", "step"),
        ("bounds", "low and high"),
    ],
)
def test_keys_of_other_tools_are_answered_with_ours(foreign: str, ours: str) -> None:
    with pytest.raises(UserError, match=rf"space\.lr: '{foreign}' is another tool's key; write .*{ours}"):
        Space.parse({"lr": {foreign: 1, "high": 2.0}})


@pytest.mark.parametrize("make", [lambda: Float(2, 1), lambda: Int(0.5, 1), lambda: Choice([])])  # type: ignore[arg-type]
def test_domains_check_themselves_in_python_too(make: Any) -> None:
    with pytest.raises(UserError, match=r"^(Float|Int|Choice): ") as caught:
        make()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)


def test_python_spaces_take_domains_only() -> None:
    with pytest.raises(UserError, match=r"space\.a: must be Float, Int or Choice, found 3"):
        Space({"a": 3})
    with pytest.raises(UserError, match=r"space\.a\.b: given twice"):
        Space({"a.b": Int(0, 1), "a": {"b": Int(0, 1)}})


POINT = {"lr": 0.1, "kind": "x", "b": 2}
SMALL = Space({"lr": Float(0, 1, step=0.1), "kind": Choice({"x": {"b": Int(0, 4, step=2)}, "y": {"c": Float(0, 1)}})})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lr": None}, r"lr: must be a number, found None"),
        ({"lr": True}, r"lr: must be a number, found True"),
        ({"lr": math.nan}, r"lr: must be a number, found nan"),
        ({"lr": 1.1}, r"lr: must lie in 0\.0 \.\. 1\.0, step 0\.1, found 1\.1"),
        ({"lr": 0.15}, r"lr: must be 0\.0 and a multiple of step 0\.1, found 0\.15"),
        ({"b": 2.0}, r"b: must be a whole number, found 2\.0"),
        ({"b": 3}, r"b: must be 0 and a multiple of step 2, found 3"),
        ({"b": 6}, r"b: must lie in 0 \.\. 4, step 2, found 6"),
        ({"kind": "z"}, r"kind: must be one of x \| y, found 'z'"),
        ({"kind": "y"}, r"c: missing; it must be float 0\.0 \.\. 1\.0"),
        ({"c": 0.5}, r"c: float 0\.0 \.\. 1\.0  \(when kind = y\): not searched with these choices, found 0\.5"),
        ({"lrr": 0.5}, r"unknown parameter 'lrr'; did you mean 'lr'\?"),
    ],
)
def test_points_outside_are_refused(change: dict[str, Any], sentence: str) -> None:
    SMALL.validate(POINT)
    with pytest.raises(UserError, match=sentence):
        SMALL.validate({**POINT, **change})


def test_a_boolean_is_no_number_among_choices() -> None:
    space = Space({"a": Choice([0, 2])})
    with pytest.raises(UserError, match="found False"):
        space.validate({"a": False})
    space.validate({"a": 0})


def test_grids_and_sizes() -> None:
    space = Space({"a": Float(0, 1, step=0.25), "b": Int(1, 7, step=3), "c": Choice([None, "x"]), "d": Float(2, 2)})
    assert space.grid() == {"a": [0.0, 0.25, 0.5, 0.75, 1.0], "b": [1, 4, 7], "c": [None, "x"], "d": [2.0]}
    assert space.size() == 5 * 3 * 2
    assert space.endless() is None
    assert SPACE.endless() == "optimizer.lr"
    assert SPACE.size() is None
    with pytest.raises(UserError, match=r"space\.b: a grid cannot hold parameters of a branch") as caught:
        SMALL.grid()
    assert "brute_force" in str(caught.value.hint)
    with pytest.raises(UserError, match=r"space\.x: a grid needs a finite list of values; give it a step"):
        Space({"x": Float(0, 1)}).grid()
