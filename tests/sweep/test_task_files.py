"""A task on the user's files in a sweep file: its path, its digest, and what is said before anything starts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_wine
from typer.testing import CliRunner

from hpo.cli import app
from hpo.errors import UserError
from hpo.sweep import Sweep
from hpo.training.function import TaskJob

Build = Callable[..., Sweep]

SWEEP = """
name: wine
task: {name: tabular, path: data/wine.csv, target: target}
space: {optimizer.lr: {low: 1e-4, high: 1.0, log: true}}
objective: {metric: val_accuracy, direction: maximize}
budget: {trials: 3}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a sweep file and its data; the working directory is another."""
    folder = tmp_path / "mine"
    (folder / "data").mkdir(parents=True)
    load_wine(as_frame=True).frame.to_csv(folder / "data" / "wine.csv", index=False)
    (folder / "sweep.yaml").write_text(SWEEP)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "cache"))
    return folder


def sweep_in(folder: Path, *overrides: str) -> Sweep:
    return Sweep.from_file(folder / "sweep.yaml", overrides)


def made(sweep: Sweep) -> Any:
    job = sweep.trained.job((), sweep.goals)
    assert isinstance(job, TaskJob)
    return job.make()


def test_the_path_hangs_on_the_files_folder_and_is_kept_absolute(folder: Path) -> None:
    sweep = sweep_in(folder)
    path = str(folder / "data" / "wine.csv")
    assert sweep.canonical()["task"]["path"] == path
    assert list(sweep.digests()) == [path]
    assert made(sweep).outputs == 3
    again = Sweep.from_dict(sweep.stored()["keys"], Path(sweep.stored()["folder"]))
    assert again.stored() == sweep.stored()


def test_a_changed_file_is_another_spec(folder: Path) -> None:
    before = Sweep.identity(sweep_in(folder).stored())
    with (folder / "data" / "wine.csv").open("a") as file:
        file.write(",".join(["1"] * 14) + "\n")
    after = Sweep.identity(sweep_in(folder).stored())
    assert {key for key in after if after[key] != before[key]} == {"code"}


def test_a_path_from_the_environment_is_kept_as_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", str(folder / "data"))
    sweep = sweep_in(folder, "task.path=${env:DATA}/wine.csv")
    assert sweep.canonical()["task"]["path"] == "${env:DATA}/wine.csv"
    assert made(sweep).outputs == 3


def test_a_node_without_the_folder_finds_the_data_in_the_copy_that_ray_brings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_in(folder)
    there = made(sweep)
    node = folder.parent / "node"
    folder.rename(node)
    with pytest.raises(UserError, match=r"^task\.path: no file or folder 'wine\.csv' in "):
        made(sweep)
    monkeypatch.chdir(node)
    assert (made(sweep).train[0] == there.train[0]).all()


def test_a_file_of_the_same_name_in_the_working_directory_is_another(folder: Path) -> None:
    shutil.move(folder / "data", "data")
    with pytest.raises(UserError, match=r"^task\.path: no file or folder 'wine\.csv' in .*mine/data$"):
        sweep_in(folder)


WRONG = {
    "no such file": (["task.path=data/wines.csv"], "task.path: no file or folder 'wines.csv' in "),
    "no such column": (["task.target=tarjet"], "task.target: unknown column 'tarjet'; did you mean 'target'? "),
    "no path": (["task={name: tabular, target: a}"], "task.path: missing; it is required"),
    "another's metric": (["objective.metric=val_r2"], "objective.metric: r2 needs float targets, the task has others"),
    "another's loss": (["base.loss=mse"], "base.loss: mse needs float targets, the task has others"),
    "a batch": (["space.batch_size={low: 9, high: 999}"], "space.batch_size: must be at most the 106 training"),
    "warmup": (["base.schedule.warmup_steps=500"], "base.schedule.warmup_steps: 500 makes 500 warmup steps, which"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_is_said_before_anything_starts(case: str, folder: Path) -> None:
    overrides, sentence = WRONG[case]
    before = sorted(folder.parent.glob("[!c]*/**/*"))
    for command in ("check", "launch"):
        result = CliRunner().invoke(app, [command, str(folder / "sweep.yaml"), *overrides])
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        assert result.stderr.startswith(f"error: {sentence}"), result.stderr
    assert sorted(folder.parent.glob("[!c]*/**/*")) == before


def test_check_says_what_was_done_to_the_data(folder: Path) -> None:
    text = (folder / "data" / "wine.csv").read_text()
    lines = [f"{line},{'country' if i == 0 else 'Italy'}" for i, line in enumerate(text.splitlines())]
    (folder / "data" / "wine.csv").write_text("\n".join(lines))
    result = CliRunner().invoke(app, ["check", str(folder / "sweep.yaml")])
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "task: column 'country' is left out: it is 'Italy' in all rows that train",
        f"{folder / 'sweep.yaml'} is valid: 1 parameter",
    ]


def test_the_config_of_an_export_leaves_a_loss_that_nobody_chose_to_the_data(folder: Path, build: Build) -> None:
    assert "loss" not in sweep_in(folder).trained.full_config({"optimizer.lr": 0.1})
    assert sweep_in(folder, "base.loss=focal").trained.full_config({})["loss"]["name"] == "focal"
    sweep = build(task="diabetes", objective={"metric": "val_r2", "direction": "maximize"})
    assert sweep.check_data() == ()
    assert sweep.trained.full_config({})["loss"]["name"] == "mse"
