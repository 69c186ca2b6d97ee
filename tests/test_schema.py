"""What every model of ours refuses and how it says so; dotted and nested mappings are one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from hpo.errors import UserError
from hpo.schema import Frozen, check, flatten, nest, shown


def only_even(value: object) -> object:
    if not isinstance(value, int) or value % 2:
        raise ValueError(f"must be even, found {value!r}")
    return value


class Inner(Frozen):
    depth: int = 1
    kind: Literal["round", "square"] = "round"

    @model_validator(mode="after")
    def _not_too_deep(self) -> Inner:
        if self.depth > 90:
            raise ValueError("is too deep")
        return self


class Outer(Frozen):
    inner: Inner = Inner()
    maybe: Inner | None = None
    many: tuple[Inner, ...] = Field((), strict=False)
    named: dict[str, Inner] = {}
    size: float = 1.0
    flag: bool = False
    words: tuple[str, ...] = Field(("a",), strict=False, min_length=1)
    count: int | Literal["auto"] = "auto"
    even: Annotated[int, BeforeValidator(only_even)] = 2


class Needs(Frozen):
    kind: Literal["round", "square"]
    size: int


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (
            {"sizee": 1},
            "unknown key 'sizee'; did you mean 'size'? (allowed: count, even, flag, inner, many, maybe, named, ",
        ),
        ({"inner": {"dept": 1}}, "inner: unknown key 'dept'; did you mean 'depth'? (allowed: depth, kind)"),
        ({"maybe": {"dept": 1}}, "maybe: unknown key 'dept'; did you mean 'depth'? (allowed: depth, kind)"),
        ({"many": [{}, {"dept": 1}]}, "many.1: unknown key 'dept'; did you mean 'depth'? (allowed: depth, kind)"),
        (
            {"named": {"a.b": {"dept": 1}}},
            "named.a.b: unknown key 'dept'; did you mean 'depth'? (allowed: depth, kind)",
        ),
        ({"inner": {"depth": "1"}}, "inner.depth: should be a valid integer, found '1'"),
        ({"inner": {"depth": True}}, "inner.depth: should be a valid integer, found True"),
        ({"inner": {"depth": 1.0}}, "inner.depth: should be a valid integer, found 1.0"),
        ({"size": True}, "size: should be a valid number, found True"),
        ({"size": float("nan")}, "size: should be a finite number, found nan"),
        ({"flag": 1}, "flag: should be a valid boolean, found 1"),
        ({"inner": [1]}, "inner: should be a mapping, found [1]"),
        ({"inner": {"depth": 91}}, "inner: is too deep"),
        ({"words": []}, "words: should not be empty"),
        ({"words": [1]}, "words.0: should be a valid string, found 1"),
        ({"count": "all"}, "count: should be a valid integer or 'auto', found 'all'"),
        ({"even": 3}, "even: must be even, found 3"),
        (
            {"inner": {"kind": "squar"}},
            "inner.kind: should be 'round' or 'square', found 'squar'; did you mean 'square'?",
        ),
        ({"inner": {"kind": 5}}, "inner.kind: should be 'round' or 'square', found 5"),
        ({"named": {1: {}}}, "named.1: a key should be text, found 1"),
        ({"size": "x" * 200}, f"size: should be a valid number, found '{'x' * 76}..."),
    ],
)
def test_the_sentence_begins_with_the_key(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        check(Outer, raw)
    assert str(caught.value).startswith(sentence)
    with pytest.raises(UserError) as caught:
        check(Outer, raw, "at.top")
    top = "at.top: " if sentence.startswith("unknown key") else "at.top."
    assert str(caught.value).startswith(top + sentence)


def test_a_mistyped_key_goes_before_the_missing_one() -> None:
    with pytest.raises(UserError, match=r"^unknown key 'sizze'; did you mean 'size'\? "):
        check(Needs, {"kind": "round", "sizze": 1})
    with pytest.raises(UserError, match=r"^kind: missing; it is required, one of round, square$"):
        check(Needs, {"size": 1})
    with pytest.raises(UserError, match=r"^size: missing; it is required$"):
        check(Needs, {"kind": "round"})


def test_a_file_that_is_no_mapping() -> None:
    with pytest.raises(UserError, match=r"^should be a mapping, found \[\]$"):
        check(Outer, [])


def test_whole_numbers_are_floats_and_lists_are_tuples_where_said() -> None:
    outer = check(Outer, {"size": 2, "words": ["a", "b"], "many": [{"depth": 3}]})
    assert (outer.size, outer.words, outer.many) == (2.0, ("a", "b"), (Inner(depth=3),))
    with pytest.raises(ValidationError):
        outer.size = 3.0  # type: ignore[misc]


def test_long_values_are_cut() -> None:
    assert shown("x" * 50) == repr("x" * 50)
    assert len(shown(list(range(1000)))) == 80


trees = st.recursive(
    st.integers(),
    lambda below: st.dictionaries(st.text("abc", min_size=1, max_size=2), below, min_size=1, max_size=3),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


@given(trees)
def test_flat_and_nested_are_one(tree: dict[str, Any]) -> None:
    flat = flatten(tree)
    assert not any(isinstance(value, dict) for value in flat.values())
    assert nest(flat) == tree
    assert nest(tree) == tree
    assert flatten(nest(flat)) == flat


@given(trees, st.data())
def test_mixed_forms_are_the_same(tree: dict[str, Any], data: st.DataObject) -> None:
    def mixed(node: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in node.items():
            if isinstance(value, dict) and data.draw(st.booleans()):
                out |= {f"{key}.{below}": item for below, item in mixed(value).items()}
            else:
                out[key] = mixed(value) if isinstance(value, dict) else value
        return out

    assert nest(mixed(tree)) == tree


def test_a_value_with_keys_below_it_stands_under_the_empty_key() -> None:
    for form in ({"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}, {"a": {"": 1, "b": 2}}):
        assert nest(form) == {"a": {"": 1, "b": 2}}
    assert flatten({"a": {"": 1, "b": 2}}) == {"a": 1, "a.b": 2}


@pytest.mark.parametrize(
    ("twice", "key"),
    [
        ({"a": {"b": 1}, "a.b": 1}, "a.b"),
        ({"a.b": 1, "a": {"b": 2}}, "a.b"),
        ({"a": {"b": {"c": 1}}, "a.b": {"c": 1}}, "a.b.c"),
        ({"a": 1, "a.b": 2, "a.": 3}, "a."),
    ],
)
def test_a_path_given_twice_is_refused(twice: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"^{key}: given twice; keep one$"):
        nest(twice)
