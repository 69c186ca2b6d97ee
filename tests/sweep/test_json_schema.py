"""The JSON schema: every right file meets it, and it finds what an editor can find."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from hpo import yaml12
from hpo.sweep import Sweep
from hpo.sweep.json_schema import sweep_schema
from hpo.training import paths
from tests.sweep.test_forms import DIGITS, SECTIONS, Build
from tests.sweep.wrong_files import CASES


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = sweep_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def mistakes(validator: Draft202012Validator, keys: dict[str, Any]) -> list[str]:
    return [error.json_path for error in validator.iter_errors(keys)]


def test_the_example_and_its_canonical_form_meet_it(validator: Draft202012Validator) -> None:
    assert mistakes(validator, yaml12.load(DIGITS.read_text(), "digits")) == []
    assert mistakes(validator, Sweep.from_file(DIGITS).canonical()) == []


@pytest.mark.parametrize("changes", SECTIONS, ids=[" ".join(changes) or "least" for changes in SECTIONS])
def test_canonical_forms_meet_it(changes: dict[str, Any], build: Build, validator: Draft202012Validator) -> None:
    assert mistakes(validator, build(changes).canonical()) == []


@pytest.mark.parametrize(
    "more",
    [
        {"base.epochs": 3, "trial.timeout": "5m", "space.optimizer.lr": {"low": 0.1, "high": 0.2}},
        {"base": {"optimizer.lr": 0.1, "schedule": "mine", "model": {"anything": [1]}, "epochs": "${env:N}"}},
        {"base": "base.yaml", "plugins": ["mine.py"], "sampler": {"name": "mine", "depth": 3}, "pruner": "mine"},
        {"seed": "${env:SEED}", "budget": {"trials": "${env:N}", "time": "1h30m"}, "concurrency": "${env:N}"},
        {"space": {"use": ["mine.py:SPACE"], "model.layers": {"choices": {"one": None, "two": {}}}}},
        {"task": {"name": "mine.py:make", "size": 3}},
    ],
)
def test_it_is_open_where_the_rules_are(more: dict[str, Any], validator: Draft202012Validator) -> None:
    assert mistakes(validator, {"name": "x", "task": "digits", **more}) == []


def test_the_base_of_a_users_own_loop_is_free(validator: Draft202012Validator) -> None:
    base = {"optimizer": 3, "epochs": "many", "seed": 4}
    assert mistakes(validator, {"name": "x", "train": "mine.py:train", "base": base}) == []
    assert mistakes(validator, {"name": "x", "task": "digits", "base": base}) != []


@pytest.mark.parametrize(
    ("task", "right"),
    [
        ("tabular", True),
        ("mine.py:make", True),
        ({"name": "tabular", "path": "a.csv", "target": "y"}, True),
        ({"name": "tabular", "path": "${env:DATA}", "target": "y", "split_seed": "${env:SEED}"}, True),
        ({"name": "tabular", "taget": "y"}, False),
        ({"name": "digits", "split_seed": "one"}, False),
        (3, False),
    ],
)
def test_the_options_of_a_task_are_known(task: Any, right: bool, validator: Draft202012Validator) -> None:
    assert (mistakes(validator, {"name": "x", "task": task}) == []) == right


FOUND = [
    "foreign: n_trials",
    "foreign: goal",
    "keys: a typing mistake",
    "keys: a typing mistake below",
    "keys: no name",
    "keys: seed in base",
    "values: text for a number",
    "values: true for a number",
    "values: a list for a section",
    "values: words as a time",
    "values: epochs in base",
    "values: dropout in base",
    "values: no slots",
    "entries: an option of the sampler",
    "entries: an option's type",
    "entries: a list as sampler",
    "spaces: text for a bound",
    "spaces: a fixed value",
    "code: a plugin that is no list",
]


@pytest.mark.parametrize("case", FOUND)
def test_it_finds_what_an_editor_can_find(case: str, validator: Draft202012Validator) -> None:
    assert mistakes(validator, yaml12.load(CASES[case][0], case)) != []


def test_every_path_and_entry_is_offered() -> None:
    schema = sweep_schema()
    listed = {path for path in paths() if not path.startswith("schedules.") or path.endswith(".name")}
    assert listed <= set(schema["properties"]["space"]["properties"])
    assert all(found["description"] for found in schema["properties"]["space"]["properties"].values())
    assert "tpe" in schema["properties"]["sampler"]["anyOf"][0]["anyOf"][0]["enum"]
    assert all("description" in section for section in schema["properties"].values())
