"""YAML means what its 1.2 core schema says, and nothing in a file can do anything."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hpo import yaml12
from hpo.errors import UserError

SCALARS = [
    ("1e-4", 1e-4),
    ("1e4", 1e4),
    ("1E+4", 1e4),
    ("-1.5e-3", -1.5e-3),
    (".5", 0.5),
    ("1.", 1.0),
    ("+.5", 0.5),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("12", 12),
    ("-7", -7),
    ("012", 12),
    ("+3", 3),
    ("0o17", 15),
    ("0x1F", 31),
    ("017", 17),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("on", "on"),
    ("no", "no"),
    ("yes", "yes"),
    ("off", "off"),
    ("y", "y"),
    ("1:30", "1:30"),
    ("1_000", "1_000"),
    ("0b11", "0b11"),
    ("2026-11-24", "2026-11-24"),
    ("2026-11-24 10:00:00", "2026-11-24 10:00:00"),
    (".", "."),
    ("e4", "e4"),
    ("1e", "1e"),
    ("=", "="),
    ("inf", "inf"),
    ("nan", "nan"),
    ("'1e-4'", "1e-4"),
    ('"true"', "true"),
    ("''", ""),
    ("!!float 1", 1.0),
    ("!!str 12", "12"),
    ("1_", "1_"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    loaded = yaml12.load(f"key: {text}", "f.yaml")["key"]
    assert loaded == value
    assert type(loaded) is type(value)


def test_nan_is_a_float() -> None:
    assert math.isnan(yaml12.load("key: .NaN", "f")["key"])


def test_keys_keep_their_types() -> None:
    assert yaml12.load("1: a\n0.5: b\n? null\n: c\non: d\n'2': e", "f") == {
        1: "a",
        0.5: "b",
        None: "c",
        "on": "d",
        "2": "e",
    }


def test_anchors_are_copied() -> None:
    loaded = yaml12.load("a: &x {low: 1e-4}\nb: *x\nc: &s [1]\nd: *s", "f")
    assert loaded == {"a": {"low": 1e-4}, "b": {"low": 1e-4}, "c": [1], "d": [1]}
    loaded["a"]["low"] = 3
    assert loaded["b"]["low"] == 1e-4


BAD = [
    ("", "f.yaml: the file is empty; it must hold a mapping"),
    ("# only words", "the file is empty"),
    ("- a", "line 1: must hold a mapping, key: value, at the top, found a list"),
    ("\nhello", "line 2: must hold a mapping, key: value, at the top, found a single value, 'hello'"),
    ("a: 1\nb: 2\na: 3", "f.yaml, line 3: a: this key stands here twice; keep one"),
    ("a: {b: 1, b: 2}", "line 1: b: this key stands here twice"),
    ("1: a\n0x1: b", "line 2: 0x1: this key stands here twice"),
    ("a: 1\n<<: {b: 2}", "line 2: merge keys (<<) are not part of YAML 1.2; write the keys out"),
    ("a: !!python/object/apply:os.system [ls]", "the tag !!python/object/apply:os.system is not allowed"),
    ("a: !!python/name:os.system", "the tag !!python/name:os.system is not allowed"),
    ("a: !mine 3", "the tag !mine is not allowed"),
    ("a: !!set {b}", "the tag !!set is not allowed"),
    ("a: !!omap [b: 1]", "the tag !!omap is not allowed"),
    ("a: !!binary aGk=", "the tag !!binary is not allowed"),
    ("a: !!timestamp 2026-11-24", "the tag !!timestamp is not allowed"),
    ("a: !!int x", "line 1: 'x' is not a value of type int"),
    ("a: !!bool yes", "'yes' is not a value of type bool"),
    ("a: &x [*x]", "line 1: an alias contains itself"),
    ("a: &x {b: *x}", "an alias contains itself"),
    ("a: *gone", "found undefined alias 'gone'"),
    ("a: 1\n---\nb: 2", "line 2: a second document (---) begins; keep one"),
    ("a: b: c", "line 1: mapping values are not allowed here"),
    ("a: [1, 2", "expected ',' or ']'"),
    ("a: 1\n\tb: 2", "line 2: while scanning"),
    ("a: 'open", "f.yaml, line 1: while scanning a quoted scalar"),
    ("a: 1\nb: \x01", "line 2: special characters are not allowed, found character U+0001"),
    ("? [a]\n: 1", "a key must be a word or a number, found a list or mapping"),
    ("a: 1e999", "the number 1e999 is too large; write .inf for infinity"),
    ("a: " + "9" * 5000, "the number 99999999999999999999... is too long"),
    ("a: " + "[" * 3000, "f.yaml: nested too deeply"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_mistakes_end_in_a_sentence_with_file_and_line(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        yaml12.load(text, "f.yaml")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("f.yaml")
    assert "\n" not in str(caught.value)


def test_the_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(UserError, match="holds more than 100000 values once its aliases are written out"):
        yaml12.load("\n".join(lines), "f")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [text for text, _ in SCALARS]
    + ["<<", "- a", "a: b", "# c", "1e-4", " x ", "\t", "~", "!x", "&x", "*x", "%x", "@", "`"]
)
SCALAR = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | TEXT
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


def same(a: Any, b: Any) -> bool:
    """Equal down to types, signs of zero and NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b) if isinstance(a, float) else bool(a == b)


@given(st.dictionaries(TEXT | st.integers(2, 10**9) | st.floats(0.1, 0.9), VALUE, min_size=1, max_size=5))
def test_what_is_dumped_is_loaded(data: dict[Any, Any]) -> None:
    assert same(yaml12.load(yaml12.dump(data), "f"), data)


@given(st.floats(allow_nan=False))
def test_floats_stay_floats_for_every_reader(value: float) -> None:
    text = yaml12.dump({"x": value})
    assert yaml12.load(text, "f") == {"x": value}
    assert yaml.safe_load(text) == {"x": value}
    assert type(yaml.safe_load(text)["x"]) is float


def test_dump_is_block_style_in_order_without_aliases() -> None:
    shared = [1, 2]
    text = yaml12.dump({"b": shared, "a": shared, "lr": 1e-05, "word": "on", "code": "1e-4", "empty": {}})
    assert text == "b:\n- 1\n- 2\na:\n- 1\n- 2\nlr: 1.0e-05\nword: 'on'\ncode: '1e-4'\nempty: {}\n"


def test_dump_takes_enums_and_tuples_and_nothing_odd() -> None:
    class Direction(StrEnum):
        UP = "up"

    assert yaml12.dump({"a": Direction.UP, "b": (1, 2)}) == "a: up\nb:\n- 1\n- 2\n"
    with pytest.raises(TypeError, match="YAML cannot hold"):
        yaml12.dump({"a": object()})
