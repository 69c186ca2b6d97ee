"""Reading studies: load one, say where it stands, list them. Nothing here writes or starts anything."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import NotFound, UserError, nearest
from hpo.search import attributes
from hpo.search.company import company
from hpo.search.constraints import feasible

if TYPE_CHECKING:
    import optuna

    from hpo.storage import RunRecord, StudyStorage
    from hpo.sweep.settings import Settings

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


def reading(storage: str | None) -> StudyStorage:
    """A storage to read from. Raises NotFound where there is no database; makes none."""
    from hpo.storage import open_storage
    from hpo.storage.place import read_url

    url, origin = choose_storage(storage)
    found = open_storage(url)
    if not read_url(url).exists:
        hint = "hpo launch makes one; --storage URL or HPO_STORAGE name another"
        raise NotFound(f"no database at {found.place} ({origin})", hint=hint)
    return found


@contextlib.contextmanager
def opened(name: str, storage: str | None) -> Iterator[tuple[optuna.Study, StudyStorage]]:
    """A study and its storage, for reading. Raises NotFound; makes no database."""
    with reading(storage) as found:
        yield _load(name, found), found


def load_study(name: str, storage: str | None = None) -> optuna.Study:
    """The study as a plain optuna.Study. storage: a URL; HPO_STORAGE or sqlite:///hpo.db when None.

    Raises NotFound; makes no database.
    """
    found = reading(storage)
    try:
        return _load(name, found)  # the storage stays open: the study reads through it for as long as it is kept
    except BaseException:
        found.close()
        raise


def _load(name: str, storage: StudyStorage) -> optuna.Study:
    import optuna

    names = storage.study_names()
    if name not in names:
        near = nearest(name, names)
        question = f"; did you mean {near!r}?" if near else ""
        hint = f"studies there: {', '.join(names)}" if names else "no study is there yet; hpo launch makes one"
        raise NotFound(f"no study named {name!r} in {storage.place}{question}", hint=hint)
    return optuna.load_study(study_name=name, storage=storage.optuna)


def stored_sweep(study: optuna.Study) -> dict[str, Any]:
    """The spec that `hpo launch` kept with the study. Raises UserError for a study that hpo did not make."""
    text = study.user_attrs.get(attributes.SWEEP)
    if not isinstance(text, str):
        raise UserError(f"study {study.study_name!r} was not made by hpo: no sweep is kept with it")
    stored: dict[str, Any] = json.loads(text)
    return stored


@dataclass(frozen=True)
class BestTrial:
    """A trial worth showing: its number, objective values, parameters; packed: whether it trained in a pack.

    settings: what the parameters mean for its configuration (`hpo.sweep.settings`).
    company: how it was trained if not by one process by itself, `in a pack` or `by 2 workers`.
    """

    number: int
    values: tuple[float, ...]
    params: Mapping[str, Any]
    settings: Mapping[str, Any]
    packed: bool = False
    company: str | None = None


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands. total: the trials it ends at, None when only time limits it.

    state: running, done, stopped, interrupted (its process died), not started, or made without hpo.
    reason: who runs it, or why it stopped. seconds: what hpo has worked on it, all runs together.
    default: the value of the trial of the space's recommended values, None where there is none with one objective.
    default_pruned: whether that is the one at which it was pruned.
    constraints: as its sweep has them. met: how many COMPLETE trials break none.
    """

    name: str
    state: str
    reason: str | None
    counts: Mapping[str, int]
    total: int | None
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    best: tuple[BestTrial, ...]
    seconds: float
    default: float | None = None
    default_pruned: bool = False
    constraints: tuple[str, ...] = ()
    met: int = 0

    @property
    def done(self) -> int:
        """Trials that ended, in whatever state."""
        return sum(self.counts[state] for state in ("COMPLETE", "PRUNED", "FAIL"))

    @property
    def can_go_on(self) -> bool:
        """Whether `hpo resume` has something to do."""
        return self.state in ("stopped", "interrupted", "not started")


def status(study: optuna.Study, runs: Sequence[RunRecord]) -> StudyStatus:
    """Where `study` stands now. runs: its runs, as `StudyRecords.runs` gives them."""
    trials = study.get_trials(deepcopy=False)
    given = (t for t in trials if t.user_attrs.get(attributes.DEFAULT) and t.values)
    told = next(filter(feasible, given), None)
    counts = {state: sum(trial.state.name == state for trial in trials) for state in STATES}
    met = sum(trial.state.name == "COMPLETE" and feasible(trial) for trial in trials)
    ours = attributes.SWEEP in study.user_attrs
    keys = stored_sweep(study)["keys"] if ours else {}
    total = keys.get("budget", {}).get("trials")
    goals = keys.get("objectives") or [keys["objective"]] if ours else []
    done = sum(counts[state] for state in ("COMPLETE", "PRUNED", "FAIL"))
    state, reason = _state(runs, total is not None and done >= total) if ours else ("made without hpo", None)
    return StudyStatus(
        name=study.study_name,
        state=state,
        reason=reason,
        counts=counts,
        total=total,
        metrics=tuple(goal["metric"] for goal in goals) or _plain_metrics(study),
        directions=tuple(direction.name.lower() for direction in study.directions),
        best=best_trials(study) if met else (),
        seconds=sum(run.seconds for run in runs),
        default=told.values[0] if told is not None and len(study.directions) == 1 else None,
        default_pruned=told is not None and told.state.name == "PRUNED",
        constraints=constraints_of(study),
        met=met,
    )


def _plain_metrics(study: optuna.Study) -> tuple[str, ...]:
    """Names for the values of a study that hpo did not make: its own, or `value`, `value 1`, ..."""
    several = len(study.directions) > 1
    return tuple(
        study.metric_names or (f"value {index}" if several else "value" for index in range(len(study.directions)))
    )


def _state(runs: Sequence[RunRecord], full: bool) -> tuple[str, str | None]:
    """The state, and who runs it or why it stopped."""
    from hpo.holding import is_gone

    newest = runs[-1] if runs else None
    if newest is not None and newest.ended is None and not is_gone(newest.holder):
        heard = newest.heartbeat.astimezone().isoformat(timespec="seconds")
        return "running", f"{newest.holder}, last heard of at {heard}"
    if full:
        return "done", None
    if newest is None:
        return "not started", None
    if newest.ended is None:
        return "interrupted", f"process {newest.holder.pid} on {newest.holder.host} is gone"
    return "stopped", newest.reason


def best_trials(study: optuna.Study) -> tuple[BestTrial, ...]:
    """The best COMPLETE trial that meets the constraints; with several objectives the Pareto front of those.

    Raises NotFound when there is none.
    """
    from optuna.trial import TrialState

    found = study.best_trials
    if not found and study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise NotFound(f"no trial of study {study.study_name!r} meets its constraints{_listed(constraints_of(study))}")
    if not found:
        raise NotFound(f"study {study.study_name!r} has no COMPLETE trial yet", hint=f"hpo trials {study.study_name}")
    chosen = found if len(study.directions) > 1 else [study.best_trial]
    settings = settings_of(study)
    return tuple(
        BestTrial(
            trial.number,
            tuple(trial.values),
            dict(trial.params),
            settings(trial.params),
            packed=bool(trial.user_attrs.get(attributes.PACKED)),
            company=company(trial.user_attrs),
        )
        for trial in chosen
    )


def constraints_of(study: optuna.Study) -> tuple[str, ...]:
    """The constraints of a study that hpo made, as its sweep has them."""
    if attributes.SWEEP not in study.user_attrs:
        return ()
    return tuple(stored_sweep(study)["keys"].get("constraints", ()))


def _listed(constraints: Sequence[str]) -> str:
    return f" ({', '.join(constraints)})" if constraints else ""


def settings_of(study: optuna.Study) -> Settings:
    """A function from the parameters of a trial of `study` to what its configuration gets."""
    from hpo.sweep.settings import settings_reader

    made_by_hpo = isinstance(study.user_attrs.get(attributes.SWEEP), str)
    return settings_reader(stored_sweep(study)["keys"] if made_by_hpo else {})


def kept_checkpoint(study: optuna.Study, number: int) -> str | None:
    """Where the last checkpoint of a trial of `study` lies; None when it saved none, or it was not kept."""
    from hpo.search.keeping import kept_trials
    from hpo.search.plan import Objective
    from hpo.training.checkpoint import KEEP

    trials = study.get_trials(deepcopy=False)
    where: str | None = trials[number].user_attrs.get(attributes.CHECKPOINT)
    if where is None:
        return None
    keys = stored_sweep(study)["keys"]
    goal = (keys.get("objectives") or [keys["objective"]])[0]
    keep = keys.get("checkpoints", {}).get("keep", KEEP)
    kept = kept_trials(trials, keep, Objective(goal["metric"], goal["direction"]))
    return where if number in kept else None


def trial_numbers(count: int) -> str:
    """`its trials are 0 to 11`."""
    return f"its trials are 0 to {count - 1}" if count else "it has none yet"


def all_statuses(storage: str | None) -> tuple[list[StudyStatus], str]:
    """Every study of a storage, and the storage's printable place. Raises NotFound where there is no database."""
    import optuna

    with reading(storage) as found:
        # an empty server is not given Optuna's tables for being looked at: `optuna` makes them
        names = found.study_names()
        loaded = [optuna.load_study(study_name=name, storage=found.optuna) for name in names]
        return [status(study, found.records(study.study_name).runs()) for study in loaded], found.place


def whoami() -> str:
    """`user@host`: who is at work here, for what is kept with a study."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def trial_folder(url: str) -> Path:
    """Where a study's files go: beside a SQLite database, below the working directory for a server."""
    prefix = "sqlite:///"
    return Path(url.removeprefix(prefix)).parent if url.startswith(prefix) else Path.cwd()
