"""The curated spaces: valid for the tasks they are for, every branch reached, every range with source and default."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hpo.sweep import Sweep
from hpo.sweep.named_spaces import curated
from hpo.training import with_paths
from tests.dice import Dice

NAMES = [named.name for named in curated()]
COMPOSED = ("mlp", "cnn", "transformer", "tabular")
# what a space is for, where it is not any task; the others are parts of these
TASKS = {
    "mlp": ["digits"],
    "cnn": ["digits"],
    "transformer": ["modular_addition"],
    "tabular": ["breast_cancer", "diabetes"],
    "losses": ["digits"],
    "privacy": ["digits"],
}


def sweep(name: str, task: str, folder: Path) -> Sweep:
    keys = {
        "name": "curated",
        "task": task,
        "space": {"use": [f"search_spaces.{name}:SPACE"]},
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 3},
    }
    return Sweep.from_dict(keys, folder)


def test_every_space_is_a_part_of_one_that_is_sampled_below() -> None:
    spaces = {named.name: named.space for named in curated()}
    sampled = {path for name in TASKS for path in spaces[name].parameters()}
    assert {path for space in spaces.values() for path in space.parameters()} == sampled


def test_they_are_all_there() -> None:
    subjects = {"lr_schedules", "initializers", "regularization", "optimizers", "losses", "augmentation", "privacy"}
    assert set(NAMES) == subjects | set(COMPOSED)
    assert all(named.summary for named in curated())


@pytest.mark.parametrize("name", NAMES)
def test_every_range_has_a_source_and_a_default(name: str) -> None:
    (named,) = [named for named in curated() if named.name == name]
    parameters = named.space.parameters()
    assert len(parameters) >= 2
    assert {path for path, domain in parameters.items() if domain.source is None or domain.default is None} == set()
    named.space.validate(named.space.suggest(Dice(0)))


@pytest.mark.parametrize(("name", "task"), [(n, t) for n in TASKS for t in TASKS[n]])
def test_200_samples_are_valid_configurations_and_reach_every_branch(name: str, task: str, tmp_path: Path) -> None:
    made = sweep(name, task, tmp_path)
    space, config = made.search_space, made.trained.config
    reached: set[str] = set()
    chosen: set[tuple[str, object]] = set()
    for seed in range(200):
        params = space.suggest(Dice(seed))
        with_paths(config, space.settings(params))
        reached |= set(params)
        chosen |= {(path, value) for path, value in params.items() if isinstance(value, str | bool)}
    assert reached == set(space.stored.parameters())
    options = {
        (path, value)
        for path, domain in space.stored.parameters().items()
        if domain.kind == "choice"
        for value in domain.choices
        if isinstance(value, str | bool)
    }
    assert options == chosen


@pytest.mark.parametrize("name", NAMES)
def test_they_import_the_spaces_room_only(name: str) -> None:
    tree = ast.parse((Path(__file__).parents[1] / "search_spaces" / f"{name}.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module for module in modules if module.split(".")[0] != "search_spaces"} == {"hpo.space"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
