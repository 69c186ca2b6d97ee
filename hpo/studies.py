"""Reading studies: load one, say where it stands, list them. Nothing here writes or starts anything."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import NotFound, UserError
from hpo.search import attributes

if TYPE_CHECKING:
    import optuna

    from hpo.storage import StudyStorage

DEFAULT_STORAGE = "sqlite:///hpo.db"
ENVIRONMENT = "HPO_STORAGE"
STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")


def choose_storage(flag: str | None, in_file: str | None = None) -> tuple[str, str]:
    """The storage's URL and which of the four said so: the flag, HPO_STORAGE, the file, or the default."""
    if flag is not None:
        return flag, "--storage"
    if os.environ.get(ENVIRONMENT):
        return os.environ[ENVIRONMENT], ENVIRONMENT
    if in_file is not None:
        return in_file, "the sweep file"
    return DEFAULT_STORAGE, "the default"


@contextlib.contextmanager
def opened(name: str, storage: str | None) -> Iterator[tuple[optuna.Study, StudyStorage]]:
    """A study and its storage, for reading. Raises NotFound; makes no database."""
    import optuna

    from hpo.storage import open_storage

    url, _ = choose_storage(storage)
    with open_storage(url) as opened_storage:
        if not opened_storage.exists(name):
            raise NotFound(f"no study named {name!r} in {opened_storage.place}", hint=_names_hint(opened_storage))
        yield optuna.load_study(study_name=name, storage=opened_storage.optuna), opened_storage


def load_study(name: str, storage: str | None = None) -> optuna.Study:
    """The study as a plain optuna.Study. storage: a URL; HPO_STORAGE or sqlite:///hpo.db when None."""
    import optuna

    from hpo.storage import open_storage

    url, _ = choose_storage(storage)
    # stays open: the study reads through it for as long as the caller keeps it
    opened_storage = open_storage(url)
    if not opened_storage.exists(name):
        place, hint = opened_storage.place, _names_hint(opened_storage)
        opened_storage.close()
        raise NotFound(f"no study named {name!r} in {place}", hint=hint)
    return optuna.load_study(study_name=name, storage=opened_storage.optuna)


def _names_hint(storage: StudyStorage) -> str:
    names = storage.study_names()
    return f"studies there: {', '.join(names)}" if names else "no study is there yet; `hpo launch` makes one"


def stored_sweep(study: optuna.Study) -> dict[str, Any]:
    """The spec that `hpo launch` kept with the study. Raises UserError for a study that hpo did not make."""
    text = study.user_attrs.get(attributes.SWEEP)
    if not isinstance(text, str):
        raise UserError(f"study {study.study_name!r} was not made by hpo: it has no sweep to go on with")
    stored: dict[str, Any] = json.loads(text)
    return stored


def holder(run: Mapping[str, Any] | None) -> str | None:
    """Who works on the study now, as text, or None. A dead process of this host does not count."""
    if not run or run.get("ended") is not None:
        return None
    who = f"process {run.get('pid')} on {run.get('host')}, since {run.get('started')}"
    if run.get("host") != socket.gethostname():
        return who
    import psutil

    try:
        process = psutil.Process(int(run["pid"]))
        # pids are given away again: only the process that started then is the same
        same = abs(process.create_time() - float(run["process_started"])) < 2
        return who if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


@dataclass(frozen=True)
class BestTrial:
    """A trial worth showing: its number, objective values, parameters."""

    number: int
    values: tuple[float, ...]
    params: Mapping[str, Any]


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands. total: the trials it ends at, None when only time limits it."""

    name: str
    state: str
    counts: Mapping[str, int]
    total: int | None
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    best: tuple[BestTrial, ...]
    seconds: float
    run: Mapping[str, Any]

    @property
    def done(self) -> int:
        """Trials that ended, in whatever state."""
        return sum(self.counts[state] for state in ("COMPLETE", "PRUNED", "FAIL"))


def status(study: optuna.Study) -> StudyStatus:
    """Where `study` stands now."""
    trials = study.get_trials(deepcopy=False)
    counts = {state: sum(trial.state.name == state for trial in trials) for state in STATES}
    keys = stored_sweep(study)["keys"] if attributes.SWEEP in study.user_attrs else {}
    total = keys.get("budget", {}).get("trials")
    goals = keys.get("objectives") or [keys["objective"]] if keys else []
    run = study.user_attrs.get(attributes.RUN, {})
    done = sum(counts[state] for state in ("COMPLETE", "PRUNED", "FAIL"))
    return StudyStatus(
        name=study.study_name,
        state=_state(holder(run), run, done, total),
        counts=counts,
        total=total,
        metrics=tuple(goal["metric"] for goal in goals) or ("value",) * len(study.directions),
        directions=tuple(direction.name.lower() for direction in study.directions),
        best=best_trials(study) if counts["COMPLETE"] else (),
        seconds=float(run.get("seconds", 0.0)),
        run=run,
    )


def _state(held_by: str | None, run: Mapping[str, Any], done: int, total: int | None) -> str:
    if held_by is not None:
        return "running"
    if total is not None and done >= total:
        return "done"
    if run.get("ended") is None:
        return "interrupted" if run else "not started"
    return "stopped"


def best_trials(study: optuna.Study) -> tuple[BestTrial, ...]:
    """The best COMPLETE trial; with several objectives the Pareto front. Raises NotFound when none is COMPLETE."""
    found = study.best_trials
    if not found:
        raise NotFound(f"study {study.study_name!r} has no COMPLETE trial yet", hint=f"hpo trials {study.study_name}")
    chosen = found if len(study.directions) > 1 else [study.best_trial]
    return tuple(BestTrial(trial.number, tuple(trial.values), dict(trial.params)) for trial in chosen)


def all_statuses(storage: str | None) -> tuple[list[StudyStatus], str]:
    """Every study of a storage, and the storage's printable place. An absent database has none and is not made."""
    import optuna

    from hpo.storage import open_storage

    url, _ = choose_storage(storage)
    with open_storage(url) as opened_storage:
        names = opened_storage.study_names()
        if not names:
            return [], opened_storage.place
        view = opened_storage.optuna
        return [status(optuna.load_study(study_name=name, storage=view)) for name in names], opened_storage.place


def trial_folder(url: str) -> Path:
    """Where a study's files go: beside a SQLite database, below the working directory for a server."""
    prefix = "sqlite:///"
    return Path(url.removeprefix(prefix)).parent if url.startswith(prefix) else Path.cwd()
