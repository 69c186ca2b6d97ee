"""`${env:NAME}`: filled in for the run, never written back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.errors import UserError
from hpo.sweep import Sweep

Build = Callable[..., Sweep]


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), ("1e-3", 0.001), ("true", True), ("cosine", "cosine"), ("[1]", "[1]"), ("", "")]
)
def test_a_value_that_is_a_variable_takes_its_type(
    text: str, value: object, build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("def train(config, trial): ...\n")
    monkeypatch.setenv("HPO_TRIED", text)
    sweep = build(task=None, train="train.py:train", base={"x": "${env:HPO_TRIED}"}, objective=None,
                  objectives=[{"metric": "loss", "direction": "minimize"}])  # fmt: skip
    assert sweep.base == {"x": value}
    assert sweep.canonical()["base"] == {"x": "${env:HPO_TRIED}"}


@pytest.mark.parametrize("text", ["123", "12e4567", "1e3", "null"])
def test_a_name_stays_text_whatever_it_looks_like(text: str, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_TRIED", text)
    assert build(name="${env:HPO_TRIED}").name == text


PLACES: dict[str, tuple[dict[str, Any], str]] = {
    "storage": ({"storage": "postgresql://me:${env:HPO_SECRET}@host/db"}, "hunter2"),
    "checkpoints": ({"checkpoints": {"path": "ftp://me:${env:HPO_SECRET}@host/x"}}, "hunter2"),
    "whole path": ({"checkpoints": {"path": "${env:HPO_SECRET}"}}, "ftp://me:hunter2@host/x"),
    "base": ({"base": {"model": {"width": "${env:HPO_SECRET}"}}}, "971"),
    "dotted base": ({"base.model.width": "${env:HPO_SECRET}"}, "971"),
    "task option": ({"task": {"name": "digits", "split_seed": "${env:HPO_SECRET}"}}, "971"),
    "dotted space": ({"space": {"epochs": {"low": 1, "high": "${env:HPO_SECRET}"}}}, "971"),
    "nested space": ({"space": {"optimizer": {"lr": {"low": 1e-4, "high": "${env:HPO_SECRET}"}}}}, "971.5"),
    "top space": ({"space": {}, "space.optimizer.lr": {"low": 1e-4, "high": "${env:HPO_SECRET}"}}, "971.5"),
    "choice": ({"space": {"epochs": {"choices": [3, "${env:HPO_SECRET}"]}}}, "971"),
    "branch": (
        {"space": {"batch_size": {"choices": {16: {"epochs": {"low": 1, "high": "${env:HPO_SECRET}"}}, 8: {}}}}},
        "971",
    ),
    "sampler": ({"sampler": {"name": "tpe", "n_startup_trials": "${env:HPO_SECRET}"}}, "971"),
    "wrapped pruner": (
        {"pruner": {"name": "patient", "patience": 1, "wrapped": {"name": "threshold", "upper": "${env:HPO_SECRET}"}}},
        "971.5",
    ),
    "budget": ({"budget": {"trials": "${env:HPO_SECRET}"}}, "971"),
    "timeout": ({"trial": {"timeout": "${env:HPO_SECRET}"}}, "971s"),
}


@pytest.mark.parametrize("place", PLACES)
def test_no_value_of_a_variable_is_stored(place: str, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, secret = PLACES[place]
    monkeypatch.setenv("HPO_SECRET", secret)
    sweep = build(changes)
    text = json.dumps(sweep.stored()) + sweep.to_yaml()
    assert secret not in text
    assert place == "storage" or "${env:HPO_SECRET}" in text
    again = Sweep.from_dict(sweep.canonical(), Path("/elsewhere"))
    assert again.canonical() == sweep.canonical()
    assert again.search_space == sweep.search_space
    assert (again.base, again.sampler, again.budget, again.trial) == (
        sweep.base,
        sweep.sampler,
        sweep.budget,
        sweep.trial,
    )


def test_a_variable_that_could_not_be_put_back_is_refused(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_SECRET", "0.5")
    with pytest.raises(UserError, match=r"^space\.regularization\.dropout\.rate: \$\{env:HPO_SECRET\} can only stand"):
        build(space={"regularization.dropout.rate": {"low": 0.0, "high": "${env:HPO_SECRET}"}})


def test_a_base_file_is_read_where_the_sweep_lies_and_keeps_its_variables(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_SECRET", "971")
    (tmp_path / "base.yaml").write_text("epochs: 4\nmodel.width: ${env:HPO_SECRET}\n")
    sweep = build(base="base.yaml")
    assert sweep.base == {"epochs": 4, "model": {"width": 971}}
    assert sweep.canonical()["base"] == {"epochs": 4, "model": {"width": "${env:HPO_SECRET}"}}


def test_overrides_reach_into_a_base_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("epochs: 4\n")
    (tmp_path / "sweep.yaml").write_text(
        "name: s\ntask: digits\nspace: {optimizer.lr: {low: 0.1, high: 0.2}}\nbase: base.yaml\n"
        "objective: {metric: val_loss, direction: minimize}\nbudget: {trials: 1}\n"
    )
    sweep = Sweep.from_file(tmp_path / "sweep.yaml", ["base.epochs=7", "base.batch_size=8"])
    assert sweep.base == {"epochs": 7, "batch_size": 8}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=st.text("abcdefghij", min_size=6, max_size=9), path=st.lists(st.sampled_from("pqr"), min_size=1))
def test_no_secret_is_stored_wherever_it_stands(
    secret: str, path: list[str], good: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("def train(config, trial): ...\n")
    value: Any = f"x${{env:HPO_{secret.upper()}}}y"
    for key in reversed(path):
        value = {key: value} if key != "q" else {key: [value, 1]}
    keys = {**good, "train": f"{tmp_path}/train.py:train", "base": value}
    del keys["task"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"HPO_{secret.upper()}", secret)
        sweep = Sweep.from_dict(keys, tmp_path)
    assert f"x{secret}y" in json.dumps(sweep.base)
    assert f"x{secret}y" not in json.dumps(sweep.stored())
