"""Whole launches: real Ray, real databases; what the database says afterwards."""

from __future__ import annotations

import re
from typing import Any

import optuna
import pytest
import sqlalchemy

from tests.launching import Launcher, check_states

DIGITS = """
name: small
task: digits
space:
  optimizer.lr: {low: 1e-4, high: 1.0, log: true}
  regularization.dropout: {low: 0.0, high: 0.6}
  schedule.name: {choices: {constant: {}, cosine: {schedule.warmup_fraction: {low: 0.0, high: 0.1}}}}
objective: {metric: val_accuracy, direction: maximize}
budget: {trials: 16}
pruner: {name: successive_halving, min_resource: 1, reduction_factor: 2}
concurrency: 2
base: {epochs: 4, model: {name: mlp, width: 32}}
"""

LOOP = """
name: loop
train: code.py:train
space: {x: {choices: [1, 2, 3, 4]}}
objective: {metric: score, direction: maximize}
budget: {trials: 10}
sampler: grid
concurrency: 2
"""


def said(trials: list[optuna.trial.FrozenTrial]) -> list[tuple[Any, ...]]:
    """What of a trial must be the same in the same sweep."""
    return [(t.number, t.state, t.values, t.params, t.intermediate_values, t.user_attrs["seed"]) for t in trials]


def test_a_sweep_on_postgresql_is_an_ordinary_optuna_study(launcher: Launcher, postgres_url: str) -> None:
    launcher.url = postgres_url
    done = launcher.run("launch", str(launcher.write("small.yaml", DIGITS)))
    assert done.returncode == 0, done.stderr
    trials = launcher.trials("small")
    check_states(trials, 16)
    assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED"}
    for trial in trials:
        assert ("schedule.warmup_fraction" in trial.params) == (trial.params["schedule.name"] == "cosine")
        assert set(trial.user_attrs["metrics"]) >= {"train_loss", "val_loss", "val_f1"}
        if trial.state.name == "COMPLETE":
            assert trial.value == trial.intermediate_values[4]
        else:
            assert re.search(rf"step {trial.last_step}\b", trial.user_attrs["reason"])
    assert not (launcher.folder / "hpo.db").exists()


def test_a_sweep_on_mariadb_whose_password_lies_in_a_file(
    launcher: Launcher, mariadb_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    password, host = mariadb_url.removeprefix("mysql+pymysql://hpo:").split("@")
    file = tmp_path_factory.mktemp("secret") / "password"
    file.write_text(password + "\n")
    monkeypatch.setenv("HPO_STORAGE_PASSWORD_FILE", str(file))
    launcher.url = f"mariadb://hpo@{host}"
    launcher.write("code.py", "def train(config, trial):\n    return {'score': config['x'], 'other': 1.0}\n")
    done = launcher.run("launch", str(launcher.write("loop.yaml", LOOP)))
    assert done.returncode == 0, done.stderr
    assert f"mysql://hpo:***@{host}" in done.stderr
    shown = launcher.run("best", "loop")
    assert "4" in shown.stdout, shown.stderr
    launcher.url = mariadb_url
    check_states(launcher.trials("loop"), 4)
    written = [path.read_bytes() for path in launcher.folder.rglob("*") if path.is_file()]
    assert not any(password.encode() in text for text in (*written, done.stdout.encode(), done.stderr.encode()))
    assert password not in whole_database(mariadb_url)


def whole_database(url: str) -> str:
    """All rows of all tables as text."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(connection).get_table_names()
        assert "hpo_events" in tables
        rows = [row for table in tables for row in connection.exec_driver_sql(f"SELECT * FROM {table}")]
    engine.dispose()
    return repr(rows)


def test_the_same_sweep_at_one_slot_gives_the_same_trials(launcher: Launcher) -> None:
    file = str(launcher.write("small.yaml", DIGITS))
    for name in ("one", "two"):
        flags = ("--trials", "12", "--concurrency", "1", "--pack", "off", "--quiet")
        done = launcher.run("launch", file, "--name", name, *flags)
        assert done.returncode == 0, done.stderr
    assert said(launcher.trials("one")) == said(launcher.trials("two"))


def test_isolated_trials_have_processes_of_their_own_and_an_exhausted_grid_ends_the_sweep(launcher: Launcher) -> None:
    launcher.write(
        "code.py", "import os\n\n\ndef train(config, trial):\n    return {'score': config['x'], 'pid': os.getpid()}\n"
    )
    done = launcher.run("launch", str(launcher.write("loop.yaml", LOOP)), "trial.isolate=true")
    assert done.returncode == 0, done.stderr
    trials = launcher.trials("loop")
    check_states(trials, 4)
    assert sorted(trial.params["x"] for trial in trials) == [1, 2, 3, 4]
    assert len({trial.user_attrs["metrics"]["pid"] for trial in trials}) == 4
    assert "every point of the space was tried" in done.stderr
    assert "4 of 10" in done.stderr


def test_a_time_budget_puts_trials_back_and_is_no_error(launcher: Launcher) -> None:
    launcher.write(
        "code.py",
        "import time\n\n\ndef train(config, trial):\n    for step in range(40):\n"
        "        time.sleep(0.25)\n        trial.report(step, score=config['x'])\n",
    )
    done = launcher.run("launch", str(launcher.write("loop.yaml", LOOP)), "--time", "3s", "sampler=random")
    assert done.returncode == 0, done.stderr
    assert "time used up" in done.stderr
    states = [trial.state.name for trial in launcher.trials("loop")]
    assert states
    assert "RUNNING" not in states
    assert "WAITING" in states


def test_a_users_own_schedule_and_sampler_are_found_by_every_process(launcher: Launcher) -> None:
    launcher.write(
        "mine.py",
        '''
import numpy as np
import optuna
from pydantic import Field

from hpo.search.samplers import Sampler, samplers
from hpo.training.schedules import Schedule, schedules


@schedules("sawtooth")
class Sawtooth(Schedule):
    """Falls and jumps back."""

    teeth: int = Field(2, ge=1, description="how many")

    def factor(self, progress_T):
        return 1.0 - 0.9 * np.mod(progress_T * self.teeth, 1.0)


@samplers("mine")
class Mine(Sampler):
    """Random, but mine."""

    def make(self, seed, space):
        return optuna.samplers.RandomSampler(seed)
''',
    )
    text = DIGITS.replace("name: small", "name: plugged\nplugins: [mine.py]\nsampler: mine")
    text = text.replace("{constant: {}, cosine: {schedule.warmup_fraction: {low: 0.0, high: 0.1}}}", "[sawtooth]")
    done = launcher.run("launch", str(launcher.write("plugged.yaml", text)), "--trials", "3", "pruner=none")
    assert done.returncode == 0, done.stderr
    check_states(launcher.trials("plugged"), 3)
    exported = launcher.run("export", "plugged", "-o", "best.yaml")
    assert exported.returncode == 0, exported.stderr
    again = launcher.run("train", "best.yaml")
    assert again.returncode == 0, again.stderr
    assert "reproduced" in again.stdout


def test_resources_that_no_node_has_are_refused_and_nothing_is_written(launcher: Launcher) -> None:
    done = launcher.run("launch", str(launcher.write("small.yaml", DIGITS)), "trial.cpus=512")
    assert done.returncode == 2
    assert re.search(r"error: trial.cpus: 512 asked, the largest node has \d+", done.stderr)
    assert not (launcher.folder / "hpo.db").exists()
