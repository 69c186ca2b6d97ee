"""Scales, ties, defaults and spaces in Python, as a sweep file has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic_core import PydanticCustomError

from hpo.errors import UserError
from hpo.sweep import Sweep
from hpo.sweep.settings import settings_reader
from hpo.training.optimizers import Optimizer, optimizers

Build = Callable[..., Sweep]
LR = {"low": 1e-4, "high": 1.0, "log": True}
DROPOUT = {"low": 0.1, "high": 0.5, "zero": 0.3}
SPACE: dict[str, Any] = {
    "optimizer.lr": {**LR, "default": 0.01, "source": "a paper"},
    "optimizer.name": {
        "choices": {
            "adamw": {},
            "sgd": {"optimizer.momentum": {"low": 0.5, "high": 0.99, "scale": "one_minus_log", "zero": 0.1}},
        }
    },
    "regularization.dropout": DROPOUT,
    "regularization.l1": {"low": 1e-6, "high": 1e-2, "log": True, "zero": 0.5},
    "tie": {"optimizer.weight_decay": "0.1 * optimizer.lr"},
}


def test_the_canonical_form_keeps_all_but_the_sources(build: Build) -> None:
    sweep = build(space=SPACE)
    canonical = sweep.canonical()["space"]
    assert canonical["optimizer.lr"] == {"type": "float", **LR, "default": 0.01}
    assert canonical["regularization.dropout"] == {"type": "float", **DROPOUT}
    assert canonical["tie"] == {"optimizer.weight_decay": "0.1 * optimizer.lr"}
    assert Sweep.from_dict(sweep.canonical(), Path("/nowhere")).canonical() == sweep.canonical()
    assert build(space={**SPACE, "optimizer.lr": {**LR, "default": 0.01}}).stored() == sweep.stored()


def test_parameters_of_a_study_become_a_configuration(build: Build) -> None:
    sweep = build(space=SPACE)
    params = {
        "optimizer.lr": 0.02,
        "optimizer.name": "sgd",
        "optimizer.momentum.on": True,
        "optimizer.momentum.one_minus": 0.05,
        "regularization.dropout.on": False,
        "regularization.l1.on": False,
    }
    config = sweep.trained.full_config(sweep.search_space.settings(params))
    assert config["optimizer"]["momentum"] == 0.95
    assert config["optimizer"]["weight_decay"] == 0.002
    assert config["regularization"] == {"dropout": 0.0, "l1": 0.0}
    read = settings_reader(sweep.canonical())
    assert read(params) == sweep.search_space.settings(params)
    assert read({"other": 1}) == {"other": 1}


def test_what_decides_whether_a_slot_is_there_is_structural(build: Build) -> None:
    sweep = build(space=SPACE)
    structural = sweep.trained.structural(sweep.search_space)
    # a dropout of 0 is a rate like others; l1 adds a term, and a momentum above 0 keeps a velocity
    assert structural == {"optimizer.name", "optimizer.momentum.on", "regularization.l1.on"}
    tied = build(
        space={
            "model.width": {"low": 8, "high": 16, "type": "int"},
            "optimizer.lr": LR,
            "tie": {"model.depth": "model.width / 8", "batch_size": "a", "optimizer.weight_decay": "optimizer.lr"},
        }
        | {"tie": {"batch_size": "max(4, optimizer.lr)"}}
    )
    assert tied.trained.structural(tied.search_space) == {"model.width", "optimizer.lr"}


@pytest.mark.parametrize("name", list(optimizers))
def test_optimizers_say_at_which_number_they_keep_nothing(name: str) -> None:
    def slots(optimizer: Optimizer) -> set[str]:
        return set(optimizer.slots(torch.zeros(2, 2)))

    def keeps_less(field: str) -> bool:
        try:
            zero, half = (optimizers.parse({"name": name, field: number}) for number in (0.0, 0.5))
        except PydanticCustomError:  # one of the two is not allowed there
            return False
        return slots(zero) != slots(half)

    if type(optimizers.parse(name)).build is Optimizer.build:
        numbers = optimizers.parse(name).numbers()
        assert {field for field in numbers if keeps_less(field)} == set(optimizers.entries[name].slotless_at_0)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (
            {"optimizer.lr": LR, "tie": {"optimizer.weigth_decay": "optimizer.lr"}},
            "did you mean 'optimizer.weight_decay'?",
        ),
        (
            {"optimizer.lr": LR, "tie": {"optimizer.weight_decay": "-optimizer.lr"}},
            "space.tie.optimizer.weight_decay: should be greater than or equal to 0, found -0.0001, from '-optimizer",
        ),
        (
            {"optimizer.lr": LR, "tie": {"optimizer.weight_decay": "optimizer.lrr"}},
            "'optimizer.lrr' is not searched; did you mean 'optimizer.lr'?",
        ),
        (
            {
                "regularization.dropout": {"low": 0.0, "high": 0.5},
                "tie": {"regularization.l1": "1 / regularization.dropout"},
            },
            "space.tie.regularization.l1: '1 / regularization.dropout' divides by zero with regularization.dropout = ",
        ),
        ({"optimizer.lr": LR, "tie": {"seed": "optimizer.lr"}}, "space.seed: is set by the sweep's top-level seed"),
        (
            {"regularization.dropout": {"low": 0.5, "high": 1.5, "zero": 0.5}},
            "space.regularization.dropout: should be less than 1, found 1.5",
        ),
        ({"epochs": {"low": 1, "high": 9, "zero": 0.5}}, "space.epochs: should be greater than or equal to 1, found 0"),
    ],
)
def test_mistakes_are_said_before_anything_runs(build: Build, space: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        build(space=space)
    assert sentence in str(caught.value)


MINE = """
from hpo.space import Choice, Float, Space

SPACE = Space(
    {
        "optimizer.lr": Float(1e-3, 1.0, log=True, default=0.1),
        "schedule.name": Choice({"constant": {}, "cosine": {"schedule.floor": Float(0.0, 0.1, zero=0.5)}}),
    },
    tie={"optimizer.weight_decay": "0.1 * optimizer.lr"},
)
"""


def test_what_stands_in_the_file_goes_before_what_it_uses(build: Build, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "spaces.py").write_text(MINE)
    for reference in ("mine.py:SPACE", "shop.spaces:SPACE"):
        sweep = build(
            space={
                "use": [reference],
                "optimizer.weight_decay": {**LR, "zero": 0.5},
                "tie": {"schedule.floor": "0.1 * optimizer.lr"},
                "schedule.name": {"choices": ["cosine", "linear"]},
            }
        )
        space = sweep.search_space
        assert list(space.parameters()) == ["optimizer.lr", "optimizer.weight_decay", "schedule.name"]
        assert list(space.ties) == ["schedule.floor"]
        assert "use" not in sweep.canonical()["space"]


def test_other_spellings_of_a_path_are_renamed_in_ties_too(build: Build) -> None:
    space = {"regularization.dropout.rate": {"low": 0.1, "high": 0.5, "default": 0.2, "zero": 0.5, "source": "x"}}
    tie = {"regularization.l1.penalty": "1e-3 * sqrt(regularization.dropout.rate)"}
    found = build(space={**space, "tie": tie}).search_space
    assert list(found.parameters()) == ["regularization.dropout"]
    assert {path: tie.text for path, tie in found.ties.items()} == {
        "regularization.l1": "0.001 * sqrt(regularization.dropout)"
    }


def test_a_loop_of_ones_own_has_ties_and_scales_too(build: Build, tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text("def train(config, trial): ...\n")
    space = {"lr": LR, "m": {"low": 0.5, "high": 0.99, "scale": "one_minus_log"}, "tie": {"wd": "lr / 10"}}
    sweep = build(task=None, train="loop.py:train", space=space)
    assert sweep.search_space.settings({"lr": 0.5, "m.one_minus": 0.25}) == {"lr": 0.5, "m": 0.75, "wd": 0.05}


def test_epochs_that_are_tied_are_a_pruners_resource_like_those_that_are_searched(build: Build) -> None:
    sweep = build(space={"model.depth": {"low": 1, "high": 3}, "tie": {"epochs": "10 * model.depth"}})
    assert sweep.trained.max_resource(sweep.search_space) == 30
