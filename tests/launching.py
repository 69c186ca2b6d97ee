"""Launches as a user makes them: real processes, real Ray, a real database; and what the database says afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil

MARK = "HPO_TEST_FOLDER"
"""In the environment of every process of a launch: working directories are not theirs alone."""
LAUNCH_LIMIT = 240.0  # seconds; a launch takes 10 to 20 on a busy machine


@dataclass
class Launcher:
    """Runs `hpo` in a folder. url: the storage, SQLite in the folder by default."""

    folder: Path
    url: str = ""
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.url or f"sqlite:///{self.folder / 'hpo.db'}"

    def write(self, name: str, text: str) -> Path:
        """A file of the user's."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *arguments: str, into: Path | None = None) -> subprocess.Popen[str]:
        """`hpo ...` in the background, in a process group of its own. into: a file for all it prints, else pipes."""
        environment = {**os.environ, "HPO_STORAGE": self.url, "PYTHONUNBUFFERED": "1", MARK: str(self.folder)}
        with nullcontext(subprocess.PIPE) if into is None else into.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "hpo", *arguments],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=subprocess.PIPE if into is None else subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`hpo ...` to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=LAUNCH_LIMIT)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def trials(self, name: str) -> list[optuna.trial.FrozenTrial]:
        """The study's trials as plain Optuna reads them; none while it does not exist."""
        try:
            storage = optuna.storages.RDBStorage(plain_url(self.url))
        except (optuna.exceptions.StorageInternalError, RuntimeError):
            return []
        try:
            return optuna.load_study(study_name=name, storage=storage).trials
        except (KeyError, optuna.exceptions.StorageInternalError):
            return []
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def wait_for(self, condition: Callable[[], Any], what: str, limit: float = 120.0) -> Any:
        """Poll until `condition()` is true; its value."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            found = condition()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"waited {limit:g} s in vain for {what}")

    def wait_for_ended(self, name: str, count: int) -> None:
        """Until `count` trials have ended."""
        self.wait_for(
            lambda: sum(trial.state.is_finished() for trial in self.trials(name)) >= count, f"{count} ended trials"
        )

    def close(self) -> None:
        """Kill what is left."""
        for process in self.started:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.send_signal(signal.SIGKILL)
                process.kill()
                process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def plain_url(url: str) -> str:
    """The URL as SQLAlchemy wants it."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def training_processes(folder: Path) -> list[psutil.Process]:
    """Living slots and coordinators that were started from `folder`; Ray's own small agents do not count."""
    return [process for process, title in _titled(folder) if "Agent" not in title.split(" ")[0]]


def coordinator_of(folder: Path, but: Collection[int] = ()) -> int | None:
    """The process of the coordinator of the launch in `folder`, None while there is none but those."""
    for process, title in _titled(folder):
        if title.startswith("ray::CoordinatorActor") and process.pid not in but:
            return process.pid
    return None


def ray_processes(folder: Path) -> list[psutil.Process]:
    """Every living Ray process that was started from `folder`."""
    return [process for process, _ in _titled(folder)]


def _titled(folder: Path) -> list[tuple[psutil.Process, str]]:
    found = []
    for process in psutil.process_iter():
        try:
            title = " ".join(process.cmdline())
            mine = process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if mine and ("ray::" in title or "/ray/" in title):
            found.append((process, title))
    return found


def slots(folder: Path) -> list[psutil.Process]:
    """The processes that train at this moment."""
    return [process for process, title in _titled(folder) if "Trainable.train" in title]


def workers_of(folder: Path) -> list[psutil.Process]:
    """The processes that train one trial together."""
    return [process for process, title in _titled(folder) if "RayTrainWorker" in title]


def check_states(trials: list[optuna.trial.FrozenTrial], count: int) -> None:
    """Exactly `count` ended trials, none RUNNING, dense numbers, gapless curves, reasons where they belong."""
    assert [trial.number for trial in trials] == list(range(count))
    for trial in trials:
        assert trial.state.is_finished(), f"trial {trial.number} is {trial.state.name}"
        assert trial.params
        if trial.state.name in ("PRUNED", "COMPLETE"):
            steps = sorted(trial.intermediate_values)
            assert steps == list(range(1, len(steps) + 1)), f"trial {trial.number} has steps {steps}"
        if trial.state.name == "PRUNED":
            assert trial.value == trial.intermediate_values[trial.last_step]
        if trial.state.name in ("PRUNED", "FAIL"):
            assert trial.user_attrs["reason"]
