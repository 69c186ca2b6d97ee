"""The key `pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.errors import UserError
from hpo.sweep import Sweep

KEYS: dict[str, Any] = {
    "name": "packed",
    "task": "digits",
    "space": {"optimizer.lr": {"low": 1e-4, "high": 1.0, "log": True}},
    "objective": {"metric": "val_accuracy", "direction": "maximize"},
    "budget": {"trials": 3},
}


def sweep(folder: Path, **changes: Any) -> Sweep:
    return Sweep.from_dict({key: value for key, value in {**KEYS, **changes}.items() if value is not None}, folder)


@pytest.mark.parametrize("pack", ["auto", "off", 1, 16])
def test_what_it_may_be(pack: Any, tmp_path: Path) -> None:
    made = sweep(tmp_path, pack=pack)
    assert made.rows == pack
    assert made.canonical()["pack"] == pack
    assert Sweep.identity(made.stored()) == Sweep.identity(sweep(tmp_path).stored()), "it may change at each launch"


def test_it_is_auto_and_isolated_trials_and_loops_have_no_packs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def train(config, trial): ...")
    assert sweep(tmp_path).rows == "auto"
    assert sweep(tmp_path, trial={"isolate": True}).rows == "off"
    assert sweep(tmp_path, task=None, train="mine.py:train").rows == "off"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pack": 0}, "pack: must be a whole number from 1, auto or off, found 0"),
        ({"pack": True}, "pack: must be a whole number from 1, auto or off, found True"),
        ({"pack": "on"}, "pack: must be a whole number from 1, auto or off, found 'on'"),
        (
            {"pack": 4, "task": None, "train": "mine.py:train"},
            "pack: a loop of your own trains one trial at a time; write off or auto, found 4",
        ),
        (
            {"pack": 4, "trial": {"isolate": True}},
            "pack: trial.isolate gives each trial a process; write off or auto, found 4",
        ),
    ],
)
def test_what_it_may_not_be(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        sweep(tmp_path, **changes)
    assert str(caught.value) == sentence
