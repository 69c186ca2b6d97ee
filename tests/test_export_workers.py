"""Trials that several workers trained: how they are marked, and how close `train` must come with one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo.export import read_export
from tests.test_export_packed import edit
from tests.without_ray import run_here

KEYS: dict[str, Any] = {
    "name": "shared",
    "task": "digits",
    "space": {"optimizer.lr": {"low": 0.05, "high": 0.3, "log": True}},
    "objective": {"metric": "val_loss", "direction": "minimize"},
    "budget": {"trials": 1},
    "trial": {"workers": 2},
    "base": {"epochs": 2, "batch_size": 64, "model": {"name": "mlp", "width": 16}, "optimizer": {"name": "sgd"}},
}
OWN = """
from torch import distributed


def train(config, trial):
    trial.report(1, there=float(distributed.is_initialized()), x=config["x"])
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a trial that is marked as of two workers, although one trained it: its number is exact."""
    folder = tmp_path_factory.mktemp("shared")
    url = run_here(KEYS, folder)
    assert hpo.load_study("shared", url).trials[0].user_attrs["workers"] == 2
    hpo.export_best("shared", folder / "best.yaml", storage=url)
    return folder / "best.yaml"


def test_a_number_that_is_near_is_reproduced_within_a_tolerance_and_another_is_not(exported: Path) -> None:
    content = read_export(exported)
    assert (content.workers, content.packed, content.exact, content.company) == (2, False, False, "by 2 workers")
    assert hpo.train(exported).tolerance is None, "the very same number needs none"
    edit(exported, lambda content: content.update(value=content["value"] * (1 + 1e-5)))
    said: list[str] = []
    near = hpo.train(exported, say=said.append)
    assert said[1] == "another number than by 2 workers; once more, from weights one ulp up (1 thread) ..."
    assert near.reproduced
    assert near.text().startswith("reproduced within the tolerance of a trial trained by 2 workers: val_loss")
    assert near.data()["workers"] == 2
    edit(exported, lambda content: content.update(value=content["value"] * 1.1))
    assert not hpo.train(exported).reproduced


def test_a_loop_that_was_written_for_several_workers_finds_a_group(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    keys = {
        **KEYS,
        "space": {"x": {"low": 0.0, "high": 1.0}},
        "objective": {"metric": "there", "direction": "maximize"},
    }
    del keys["task"], keys["base"]
    url = run_here({**keys, "train": "mine.py:train"}, tmp_path)
    hpo.export_best("shared", tmp_path / "best.yaml", storage=url)
    assert (read_export(tmp_path / "best.yaml").value, hpo.train(tmp_path / "best.yaml").value) == (0.0, 1.0)
