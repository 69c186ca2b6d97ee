"""Sweeps over a user's own files, as a user runs them: to the end, better than the defaults, and reproduced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpo.export.form import read_export
from hpo.tasks import tasks
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, train_task, with_paths
from tests.launching import Launcher
from tests.tasks.files import WRITERS

SWEEP = """
name: {name}
task: {task}
space:
  optimizer.lr: {{low: 1e-4, high: 1e-1, log: true}}
  regularization.dropout: {{low: 0.0, high: 0.5}}
  schedule.name: {{choices: [constant, cosine]}}
objective: {{metric: val_loss, direction: minimize}}
budget: {{trials: 12}}
concurrency: 2
base: {{epochs: 10, model: {model}}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "model"), [("tabular", "mlp"), ("image_folder", "cnn"), ("npz", "mlp")])
def test_a_sweep_over_files_ends_better_than_the_defaults_and_is_reproduced(
    name: str, model: str, launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    options: dict[str, Any] = WRITERS[name](data)
    options["path"] = str(Path(options["path"]).relative_to(tmp_path))  # hangs on the sweep file's folder
    text = SWEEP.format(name=name, task=json.dumps({"name": name, **options}), model=model)
    done = launcher.run("launch", str(launcher.write("sweep.yaml", text)))
    assert done.returncode == 0, done.stderr
    trials = launcher.trials(name)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 12
    # driver and slots are as many processes, and the data were made once
    assert [one.is_dir() for one in (tmp_path / "cache" / "tasks").iterdir()].count(True) == 1
    best = min(trial.value for trial in trials if trial.value is not None)
    assert best < _untuned(tmp_path / options.pop("path"), name, options, model)
    exported = launcher.run("export", name, "--verify", "-o", "best.yaml")
    assert exported.returncode == 0, exported.stderr
    again = launcher.run("train", "best.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"reproduced: val_loss {read_export(tmp_path / 'best.yaml').value!r}" in again.stdout


def _untuned(path: Path, name: str, options: dict[str, Any], model: str) -> float:
    task = tasks.parse({"name": name, "path": str(path), **options}).make()
    config = with_paths(TrainingConfig.for_task(task)(), {"epochs": 10, "model": model})
    return train_task(config, task, Answers().trial()).metrics["val_loss"]
