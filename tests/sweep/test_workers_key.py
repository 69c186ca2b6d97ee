"""The key `trial.workers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.errors import UserError
from hpo.progress import slots_line, unpacked
from hpo.sweep import Sweep
from tests.sweep.test_pack_key import sweep


def test_it_is_one_and_may_change_at_each_launch(tmp_path: Path) -> None:
    made = sweep(tmp_path, trial={"workers": 2, "cpus": 0.5})
    assert sweep(tmp_path).trial.workers == 1
    assert made.trial.resources == (0.5, 0.0, 2)
    assert made.canonical()["trial"]["workers"] == 2
    assert Sweep.identity(made.stored()) == Sweep.identity(sweep(tmp_path).stored())


def test_there_are_no_packs_and_the_run_says_why(tmp_path: Path) -> None:
    made = sweep(tmp_path, trial={"workers": 2})
    assert made.rows == "off"
    assert unpacked(made) == "pack: off, since 2 workers train one trial at a time (trial.workers)"
    assert slots_line(made, 3) == "training in 3 slots of 2 workers, each 1 CPUs, 0 GPUs"
    assert unpacked(sweep(tmp_path)) is unpacked(sweep(tmp_path, trial={"workers": 2}, pack="off")) is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trial": {"workers": 0}}, "trial.workers: should be greater than or equal to 1, found 0"),
        (
            {"trial": {"workers": 2}, "pack": 4},
            "pack: several workers train one trial at a time (trial.workers); write off or auto, found 4",
        ),
        (
            {"trial": {"workers": 2, "gpus": 0.5}},
            "trial.gpus: must be whole for a trial of several workers, found 0.5",
        ),
        (
            {"trial": {"workers": 2}, "base": {"compile": True}},
            "trial.workers: must be 1 beside compile: true, which cannot look into what workers exchange",
        ),
        (
            {"trial": {"workers": 2}, "space": {"privacy.noise_multiplier": {"low": 0.0, "high": 1.0}}},
            "trial.workers: must be 1 beside privacy, which clips the gradient of each example by itself",
        ),
    ],
)
def test_what_it_may_not_be(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        sweep(tmp_path, **changes)
    assert str(caught.value) == sentence
