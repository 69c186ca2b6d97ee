"""Launching and resuming: a sweep and a study brought together, then a run on Ray.

Everything that can be refused is refused before anything is written: the spec is checked, the database looked at, Ray
up and its nodes big enough; only then is the study made.
"""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import Refused
from hpo.schema import flatten
from hpo.search import attributes
from hpo.search.messages import Snapshot
from hpo.search.plan import Objective, SearchPlan
from hpo.studies import choose_storage, holder, load_study, opened, stored_sweep, trial_folder
from hpo.sweep import Sweep

if TYPE_CHECKING:
    import optuna

    from hpo.storage import StudyStorage
    from hpo.tuning.runner import RunPlan

Show = Callable[[Snapshot], None]
Say = Callable[[str], None]


def launch(
    sweep: Sweep,
    *,
    storage: str | None = None,
    address: str | None = None,
    fresh: bool = False,
    show: Show | None = None,
    say: Say | None = None,
) -> optuna.Study:
    """Work on the sweep's study until its budget is used; the study.

    A study of this name with the same spec goes on to the budget; with another spec it is refused and the difference
    shown. storage: a database URL (then HPO_STORAGE, then the sweep's own, then sqlite:///hpo.db). address: a Ray
    cluster to join; by default Ray is started on this machine. fresh: delete the study of this name first.
    show: called with every Snapshot. say: called with lines for people; both print to stderr by default.

    Raises Refused when the study is being run or differs, SweepFailed with the reason when the sweep cannot go on,
    Interrupted after SIGINT or SIGTERM. The study is complete and can be resumed in every case.
    """
    from hpo.storage import open_storage

    say, show = say or _say, show or _show_plainly()
    url, origin = choose_storage(storage, sweep.storage)
    with open_storage(url) as opened_storage:
        say(f"study {sweep.name!r} in {opened_storage.place} ({origin})")
        exists = opened_storage.exists(sweep.name)
        if exists and fresh:
            _check_free(_load(sweep.name, opened_storage))
        elif exists and _is_done(sweep, _load(sweep.name, opened_storage), say):
            return load_study(sweep.name, opened_storage.url)
        return _with_ray(sweep, opened_storage, address, exists and fresh, show, say)


def resume(
    name: str,
    *,
    storage: str | None = None,
    overrides: Iterable[tuple[str, Any]] = (),
    address: str | None = None,
    show: Show | None = None,
    say: Say | None = None,
) -> optuna.Study:
    """Go on with a study to its budget; no file is needed. overrides: free keys, such as ("budget.trials", 100).

    Raises NotFound for an unknown name, and otherwise like `launch`.
    """
    with opened(name, storage) as (study, _):
        stored = stored_sweep(study)
    sweep = Sweep.from_dict(_with(stored["keys"], overrides), Path(stored["folder"]))
    return launch(sweep, storage=storage, address=address, show=show, say=say)


def _with(keys: Mapping[str, Any], overrides: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    from hpo.sweep.reading import with_overrides

    return with_overrides(keys, overrides)


def _with_ray(
    sweep: Sweep, storage: StudyStorage, address: str | None, replace: bool, show: Show, say: Say
) -> optuna.Study:
    from hpo.tuning import cluster
    from hpo.tuning.runner import Signals, run

    signals = Signals()
    signals.install()
    try:
        say("starting Ray on this machine ..." if address is None else f"joining Ray at {address} ...")
        cluster.start(address, sweep.folder)
        signals.install()
        resources = cluster.SlotResources(sweep.trial.cpus, sweep.trial.gpus)
        cluster.check_fits(resources)
        signals.check()
        if replace:
            storage.delete_study(sweep.name)
        plan = _prepare(sweep, storage, address)
        storage.close()
        _say_slots(sweep, cluster.fits(resources), say)
        caveat = sweep.sampler.caveat(sweep.search_space)
        if caveat is not None:
            say(caveat)
        run(plan, show, say, signals)
    finally:
        cluster.stop()
        signals.restore()
    return load_study(sweep.name, storage.url)


def _say_slots(sweep: Sweep, fits: int, say: Say) -> None:
    if sweep.concurrency == "auto":
        say(
            f"training in {fits} slot{'s' if fits != 1 else ''} of {sweep.trial.cpus:g} CPUs, {sweep.trial.gpus:g} GPUs"
        )
    elif fits < int(sweep.concurrency):
        say(f"concurrency: {sweep.concurrency} slots asked for, {fits} fit now; more start when nodes join")


def _prepare(sweep: Sweep, storage: StudyStorage, address: str | None) -> RunPlan:
    """Make the study where it is new, keep the spec with it, and put the run together."""
    from hpo.tuning.cluster import SlotResources
    from hpo.tuning.files import TrialFiles
    from hpo.tuning.runner import RunPlan
    from hpo.tuning.source import SqlStudy

    stored = json.dumps(sweep.stored(), sort_keys=False)
    if not storage.exists(sweep.name):
        attrs = {attributes.SWEEP: stored, attributes.IDENTITY: str(uuid.uuid4())}
        storage.create_study(sweep.name, [goal.direction for goal in sweep.goals], attrs)
    study = _load(sweep.name, storage)
    if study.user_attrs[attributes.SWEEP] != stored:
        study.set_user_attr(attributes.SWEEP, stored)
    before = study.user_attrs.get(attributes.RUN, {})
    files = TrialFiles.beside(trial_folder(storage.url), sweep.name, study.user_attrs[attributes.IDENTITY])
    return RunPlan(
        search=search_plan(sweep),
        job=sweep.trained.job(sweep.plugin_files, sweep.goals),
        resources=SlotResources(sweep.trial.cpus, sweep.trial.gpus),
        files=files,
        source=SqlStudy(storage.url, sweep.name),
        run=_run_record(float(before.get("seconds", 0.0)), address),
        isolate=sweep.trial.isolate,
        plugins=sweep.plugin_files,
    )


def search_plan(sweep: Sweep) -> SearchPlan:
    """What the coordinator needs to know of a sweep."""
    return SearchPlan(
        study=sweep.name,
        space=sweep.search_space,
        objectives=tuple(Objective(goal.metric, goal.direction, goal.at) for goal in sweep.goals),
        sampler=sweep.sampler,
        pruner=sweep.pruner,
        seed=sweep.seed,
        max_resource=sweep.trained.max_resource(sweep.search_space),
        trials=sweep.budget.trials,
        seconds=sweep.budget.time,
        slots=None if sweep.concurrency == "auto" else int(sweep.concurrency),
        timeout=sweep.trial.timeout,
        retries=sweep.failures.retries,
        max_in_a_row=sweep.failures.max_in_a_row,
        unread_ends=True,
    )


def _run_record(seconds_before: float, address: str | None) -> dict[str, Any]:
    import psutil

    return {
        "host": socket.gethostname(),
        "process_started": psutil.Process().create_time(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seconds": seconds_before,
        "address": address or "local",
        "ended": None,
    }


def _load(name: str, storage: StudyStorage) -> optuna.Study:
    import optuna

    return optuna.load_study(study_name=name, storage=storage.optuna)


def _check_free(study: optuna.Study) -> None:
    held_by = holder(study.user_attrs.get(attributes.RUN))
    if held_by is not None:
        raise Refused(
            f"study {study.study_name!r} is being run by {held_by}", hint=f"watch it: hpo status {study.study_name}"
        )


def _is_done(sweep: Sweep, study: optuna.Study, say: Say) -> bool:
    """Say how much is done; whether nothing is left to do. Refuses a running study and another spec."""
    _check_free(study)
    now = json.loads(json.dumps(sweep.stored()))  # as it would be read back
    differences = difference(Sweep.identity(stored_sweep(study)), Sweep.identity(now))
    if differences:
        shown = "\n".join(f"  {line}" for line in differences)
        raise Refused(
            f"study {sweep.name!r} exists with another spec:\n{shown}",
            hint="--name NEW makes another study, --fresh deletes this one",
        )
    trials = study.get_trials(deepcopy=False)
    done = sum(trial.state.is_finished() for trial in trials)
    total = sweep.budget.trials
    if total is None:
        say(f"{done} trials done, going on")
        return False
    say(f"{done} of {total} done, {max(0, total - done)} to go")
    # trials that a dead run left RUNNING are put back by a run, even when the budget is full
    return done >= total and not any(trial.state.name == "RUNNING" for trial in trials)


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, one line a key."""
    old, new = flatten(before), flatten(now)
    lines = []
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            was, becomes = (repr(side[key]) if key in side else "absent" for side in (old, new))
            if key.startswith("code."):
                lines.append(f"{key.removeprefix('code.')}: the file has changed since")
            else:
                lines.append(f"{key}: was {was}, now {becomes}")
    return lines


def _say(text: str) -> None:
    import sys

    print(text, file=sys.stderr)  # noqa: T201


def _show_plainly() -> Show:
    """One line for each ended trial, for launches from Python."""
    from hpo.progress import trial_line

    def show(snapshot: Snapshot) -> None:
        for end in snapshot.ended:
            _say(trial_line(end, snapshot))
        for warning in snapshot.warnings:
            _say(f"warning: {warning}")

    return show
