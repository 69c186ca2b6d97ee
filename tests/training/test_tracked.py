"""TrackedConfig: dotted and nested are one, and it knows what was read."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import UserError
from hpo.schema import nest
from hpo.training import MissingKey, TrackedConfig

BASE = {"optimizer": {"lr": 0.1, "name": "sgd"}, "epochs": 3, "layers": [1, 2]}
PARAMS = {"optimizer.lr": 0.5, "model.width": 8}


@pytest.fixture
def config() -> TrackedConfig:
    return TrackedConfig(BASE, PARAMS)


def test_nested_and_dotted_are_one_value_and_one_reading(config: TrackedConfig) -> None:
    assert config["optimizer.lr"] == 0.5
    assert config.unread(PARAMS) == ["model.width"]
    other = TrackedConfig(BASE, PARAMS)
    section = other["optimizer"]
    assert other.unread(PARAMS) == ["optimizer.lr", "model.width"], "taking a section reads nothing"
    assert section["lr"] == 0.5
    assert other.unread(PARAMS) == ["model.width"]
    assert config.unread(["optimizer", "model", "epochs"]) == ["model", "epochs"]


@pytest.mark.parametrize(
    "read_all",
    [dict, lambda c: {**c}, lambda c: list(c.items()), lambda c: list(c), lambda c: c.as_dict(), lambda c: c == {}],
)
def test_iterating_reads_all_of_it(config: TrackedConfig, read_all: Any) -> None:
    read_all(config)
    assert config.unread(config.paths()) == []


def test_iterating_over_a_section_reads_that_section(config: TrackedConfig) -> None:
    assert dict(config["optimizer"]) == {"lr": 0.5, "name": "sgd"}
    assert config.unread(config.paths()) == ["epochs", "layers", "model.width"]


def test_printing_and_counting_read_nothing(config: TrackedConfig) -> None:
    assert "width" in repr(config)
    assert len(config) == 4
    assert len(config["optimizer"]) == 2
    assert config.unread(config.paths()) == config.paths()


def test_get_and_in_count_as_read(config: TrackedConfig) -> None:
    assert config.get("optimizer.lr") == 0.5
    assert config.get("optimizer.momentum", 0.9) == 0.9
    assert "model.width" in config
    assert "model.depth" not in config
    assert config.unread(PARAMS) == []


def test_a_missing_key_says_which_is_near(config: TrackedConfig) -> None:
    with pytest.raises(KeyError) as raised:
        config["optimizer"]["lrr"]
    assert isinstance(raised.value, MissingKey)
    assert str(raised.value).startswith("the config has no 'optimizer.lrr'; did you mean 'optimizer.lr'? (it has: ")
    with pytest.raises(MissingKey, match=r"did you mean 'optimizer\.lr'\?"):
        config["lr"]
    with pytest.raises(MissingKey, match="it has: nothing"):
        TrackedConfig({})["lr"]
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_a_value_that_is_also_a_section_is_refused() -> None:
    with pytest.raises(UserError, match=r"optimizer: is the value 'adam' and has optimizer\.lr below it"):
        TrackedConfig({"optimizer": "adam"}, {"optimizer.lr": 0.1})


def test_it_survives_pickling_with_what_was_read(config: TrackedConfig) -> None:
    assert config["optimizer.lr"] == 0.5
    again = pickle.loads(pickle.dumps(config))
    assert again.unread(PARAMS) == ["model.width"]
    assert again.as_dict() == config.as_dict()


_key = st.text("abc", min_size=1, max_size=2)
_trees = st.recursive(
    st.integers(), lambda below: st.dictionaries(_key, below, min_size=1, max_size=3), max_leaves=8
).filter(lambda tree: isinstance(tree, dict))


@given(tree=_trees)
def test_every_leaf_is_reached_by_its_path_and_by_its_keys(tree: dict[str, Any]) -> None:
    config = TrackedConfig(tree)
    for path in config.paths():
        reader = TrackedConfig(tree)
        by_keys: Any = reader
        for key in path.split("."):
            by_keys = by_keys[key]
        assert by_keys == TrackedConfig(tree)[path]
        assert reader.unread(reader.paths()) == [other for other in reader.paths() if other != path]
    assert config.as_dict() == nest(tree)
