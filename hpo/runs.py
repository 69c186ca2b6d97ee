"""Launching and resuming: a sweep and a study brought together, then a run on Ray.

Everything that can be refused is refused before anything is written: the spec is checked, the database looked at, Ray
up and its nodes big enough; only then is the study made.
"""

from __future__ import annotations

import contextlib
import json
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.encryption import HEAD, check_head, current
from hpo.errors import Refused, UserError
from hpo.progress import slots_line, unpacked
from hpo.search import attributes
from hpo.search.messages import DONE, Snapshot
from hpo.search.plan import Objective, SearchPlan
from hpo.studies import choose_storage, load_study, opened, stored_sweep, trial_folder, whoami
from hpo.sweep import Sweep
from hpo.sweep.difference import difference

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from hpo.holding import Tenure
    from hpo.storage import Lease, LeaseState, RunRecord, StudyRecords, StudyStorage
    from hpo.tuning.files import TrialFiles
    from hpo.tuning.runner import RunPlan

Show = Callable[[Snapshot], None]
Say = Callable[[str], None]


def launch(
    sweep: Sweep,
    *,
    storage: str | None = None,
    address: str | None = None,
    fresh: bool = False,
    takeover: bool = False,
    show: Show | None = None,
    say: Say | None = None,
) -> optuna.Study:
    """Work on the sweep's study until its budget is used; the study.

    A study of this name with the same spec goes on to the budget; with another spec it is refused and the difference
    shown. storage: a database URL (then HPO_STORAGE, then the sweep's own, then sqlite:///hpo.db). address: a Ray
    cluster to join; by default Ray is started on this machine. fresh: delete the study of this name first.
    takeover: take the study from a living run, which then ends; from a dead one it is taken anyway.
    show: called with every Snapshot. say: called with lines for people; both print to stderr by default.

    Raises Refused when the study is being run or differs, SweepFailed with the reason when the sweep cannot go on,
    Interrupted after SIGINT or SIGTERM. The study is complete and can be resumed in every case.
    """
    from hpo.holding import wait_until_free
    from hpo.storage import open_storage

    say, show = say or _say, show or _show_plainly()
    for note in sweep.check_data():
        say(f"task: {note}")
    url, origin = choose_storage(storage, sweep.storage)
    with open_storage(url) as opened_storage:
        say(f"study {sweep.name!r} in {opened_storage.place} ({origin})")
        opened_storage.check()
        exists, after = opened_storage.exists(sweep.name), None
        if exists:
            records = opened_storage.records(sweep.name)
            if not fresh and _is_done(sweep, _load(sweep.name, opened_storage), records, say):
                return load_study(sweep.name, opened_storage.url)
            after = wait_until_free(records, say, takeover=takeover)
        taking = _Taking(address, after, takeover, replace=exists and fresh)
        return _with_ray(sweep, opened_storage, taking, show, say)


def resume(
    name: str,
    *,
    storage: str | None = None,
    overrides: Iterable[str | tuple[str, Any]] = (),
    address: str | None = None,
    takeover: bool = False,
    show: Show | None = None,
    say: Say | None = None,
) -> optuna.Study:
    """Go on with a study to its budget; no file is needed.

    overrides: keys that are not part of what the study is, as `trial.timeout=5m` texts or ("budget.trials", 100) pairs.

    Raises NotFound for an unknown name, Refused for another spec, and otherwise like `launch`.
    """
    with opened(name, storage) as (study, _):
        stored = stored_sweep(study)
    sweep = Sweep.from_dict(_with(stored["keys"], overrides, name), Path(stored["folder"]))
    return launch(sweep, storage=storage, address=address, takeover=takeover, show=show, say=say)


def _with(keys: Mapping[str, Any], overrides: Iterable[str | tuple[str, Any]], name: str) -> dict[str, Any]:
    """The keys of study `name` with others set. Raises UserError for those that would say another study."""
    from hpo.sweep.reading import with_overrides

    changed = with_overrides(keys, overrides)
    if changed["name"] != name:
        raise UserError(
            f"name: study {name!r} is resumed under its own name, found {changed['name']!r}",
            hint="hpo launch FILE --name NEW makes another study",
        )
    if "storage" in changed:
        raise UserError("storage: where a study that is resumed lies is said by --storage or HPO_STORAGE")
    return changed


@dataclass(frozen=True)
class _Taking:
    """How a study is taken. after: its lease when it was last looked at. replace: it is deleted and made anew."""

    address: str | None
    after: LeaseState | None
    takeover: bool = False
    replace: bool = False


def _with_ray(sweep: Sweep, storage: StudyStorage, taking: _Taking, show: Show, say: Say) -> optuna.Study:
    from hpo.tuning import cluster
    from hpo.tuning.runner import Signals, run
    from hpo.tuning.sharing import lie_apart, tidied

    _check_checkpoints(sweep)
    _check_key(sweep, storage, taking)
    signals = Signals()
    signals.install()
    try:
        say("starting Ray on this machine ..." if taking.address is None else f"joining Ray at {taking.address} ...")
        cluster.start(taking.address, sweep.folder)
        signals.install()
        resources = cluster.SlotResources(*sweep.trial.resources)
        cluster.check_fits(resources)
        _check_reachable(storage, cluster.other_hosts())
        signals.check()
        with _held(sweep, storage, taking) as tenure:
            fits = cluster.fits(resources)
            plan = _prepare(sweep, storage, tenure, taking, fits)
            storage.close()
            caveat = sweep.sampler.caveat(sweep.search_space, bool(sweep.constraints))
            for line in filter(None, (slots_line(sweep, fits), caveat)):
                say(line)
            apart = taking.address is not None and lie_apart(plan.files, say)
            with tidied(plan.files, plan.search, lambda: _trials(sweep.name, storage.url), apart=apart):
                last = run(plan, show, say, signals, tenure)
            tenure.release(last.note or DONE)
            if last.busy is not None:
                say(f"packs: {last.busy:.0%} of their rows were training")
    finally:
        cluster.stop()
        signals.restore()
    return load_study(sweep.name, storage.url)


def _check_checkpoints(sweep: Sweep) -> None:
    from hpo.training.places import check_place

    path = sweep.checkpoints.place(sweep.folder)
    if path is not None:
        check_place(path, "checkpoints.path")


def _check_key(sweep: Sweep, storage: StudyStorage, taking: _Taking) -> None:
    """Raise UserError for a key that cannot be used, or opens not all that the trials will read."""
    from hpo.training.checkpoint import check_opens, names

    current()
    for file in sweep.trained.files(sweep.search_space):
        with file.open("rb") as opened_file:
            check_head(opened_file.read(HEAD), f"loss: {file}")
    if storage.exists(sweep.name) and not taking.replace:
        study = _load(sweep.name, storage)
        place = _files(sweep, storage, study).place()
        if names(place):
            trials = study.get_trials(deepcopy=False)
            check_opens(place, {trial.number for trial in trials if not trial.state.is_finished()})


def _clear_checkpoints(name: str, url: str, attrs: Mapping[str, Any]) -> None:
    """Delete the checkpoints of a study that is no more; where they lie cannot always be said."""
    from hpo.sweep.reading import fill_environment
    from hpo.tuning.files import TrialFiles

    with contextlib.suppress(UserError, KeyError):
        path = json.loads(attrs[attributes.SWEEP])["keys"]["checkpoints"].get("path")
        path = fill_environment(path, "checkpoints.path")
        TrialFiles.beside(trial_folder(url), name, attrs[attributes.IDENTITY], path).clear()


def _trials(name: str, url: str) -> list[FrozenTrial]:
    from hpo.storage import open_storage

    with open_storage(url) as storage:
        return _load(name, storage).get_trials(deepcopy=False)


def _check_reachable(storage: StudyStorage, hosts: list[str]) -> None:
    if hosts and storage.url.startswith("sqlite"):
        raise UserError(
            f"storage: {storage.place} is a file of this machine, and the cluster has nodes on {', '.join(hosts[:3])}; "
            "use postgresql://user@host/database"
        )


@contextlib.contextmanager
def _held(sweep: Sweep, storage: StudyStorage, taking: _Taking) -> Iterator[Tenure]:
    """The study, made where it is new, held within the block. Whatever ends it otherwise is the reason of its end."""
    from hpo.holding import Tenure

    if taking.replace:
        attrs = dict(_load(sweep.name, storage).user_attrs)
        with Tenure(storage.url, sweep.name, _take(sweep, storage, taking)):
            storage.delete_study(sweep.name)
        _clear_checkpoints(sweep.name, storage.url, attrs)
    if not storage.exists(sweep.name):
        attrs = {attributes.SWEEP: _text(sweep), attributes.IDENTITY: str(uuid.uuid4())}
        with contextlib.suppress(Refused):  # another launch was first; one of the two will hold it
            storage.create_study(sweep.name, [goal.direction for goal in sweep.goals], attrs)
    with Tenure(storage.url, sweep.name, _take(sweep, storage, taking)) as tenure:
        yield tenure


def _take(sweep: Sweep, storage: StudyStorage, taking: _Taking) -> Lease:
    from hpo import holding
    from hpo.storage import Held

    try:
        return storage.records(sweep.name).take(
            holding.this_process(taking.address or "local"),
            taking.after,
            holding.facts(sweep.folder),
            datetime.now(UTC),
            alive=taking.takeover,
            spec=_text(sweep),
            by=whoami(),
        )
    except Held as error:
        raise Held(str(error), holding.how_to_take(sweep.name)) from None


def _text(sweep: Sweep) -> str:
    return json.dumps(sweep.stored(), sort_keys=False)


def _prepare(sweep: Sweep, storage: StudyStorage, tenure: Tenure, taking: _Taking, fits: int = 1) -> RunPlan:
    """Keep the spec with the study, and put the run together. fits: how many slots do now."""
    from hpo.storage import open_storage
    from hpo.tuning.cluster import SlotResources
    from hpo.tuning.runner import RunPlan
    from hpo.tuning.source import SqlStudy

    with open_storage(storage.url, tenure.lease) as ours:
        study = _load(sweep.name, ours)
        _check_same(sweep, study)  # it may have been made since we looked
        if study.user_attrs[attributes.SWEEP] != _text(sweep):
            study.set_user_attr(attributes.SWEEP, _text(sweep))
    runs = storage.records(sweep.name).runs()
    return RunPlan(
        search=search_plan(sweep, fits),
        job=sweep.trained.job(sweep.plugin_files, sweep.goals, sweep.bounds),
        resources=SlotResources(*sweep.trial.resources),
        files=_files(sweep, storage, study),
        source=SqlStudy(storage.url, sweep.name, tenure.lease),
        seconds=sum(run.seconds for run in runs),
        events=_beginning(runs, taking, sweep),
        isolate=sweep.trial.isolate,
        pack=sweep.rows,
        plugins=sweep.plugin_files,
        key=current(),
    )


def _files(sweep: Sweep, storage: StudyStorage, study: optuna.Study) -> TrialFiles:
    from hpo.tuning.files import TrialFiles

    identity, kept = study.user_attrs[attributes.IDENTITY], sweep.checkpoints
    return TrialFiles.beside(
        trial_folder(storage.url), sweep.name, identity, kept.place(sweep.folder), kept.every, kept.keep
    )


def _beginning(runs: Sequence[RunRecord], taking: _Taking, sweep: Sweep) -> tuple[tuple[str, str], ...]:
    """What is noted of how the run began."""
    mine = runs[-1]
    versions = ", ".join(f"{name} {version}" for name, version in mine.facts.versions.items())
    kind = "resumed" if len(runs) > 1 else "launched"
    events = [(kind, f"{kind} as process {mine.holder.pid} on {mine.holder.host}, with {versions}")]
    if taking.after is not None and taking.after.released is None and not taking.replace:
        events.append(("takeover", f"taken over from {taking.after.holder}"))
    return (*events, *(("remark", line) for line in [unpacked(sweep)] if line is not None))


def search_plan(sweep: Sweep, fits: int = 1) -> SearchPlan:
    """What the coordinator needs to know of a sweep. fits: how many slots do when it begins."""
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
        fits=fits,
        pack=sweep.rows,
        structural=frozenset() if sweep.rows == "off" else sweep.trained.structural(sweep.search_space),
        timeout=sweep.trial.timeout,
        retries=sweep.failures.retries,
        max_in_a_row=sweep.failures.max_in_a_row,
        unread_ends=True,
        keep=sweep.checkpoints.keep,
        workers=sweep.trial.workers,
        constraints=sweep.bounds,
    )


def _load(name: str, storage: StudyStorage) -> optuna.Study:
    import optuna

    return optuna.load_study(study_name=name, storage=storage.optuna)


def _check_same(sweep: Sweep, study: optuna.Study) -> None:
    """Refuse another spec than the one that the study was made with."""
    now = json.loads(_text(sweep))  # as it would be read back
    differences = difference(Sweep.identity(stored_sweep(study)), Sweep.identity(now))
    if differences:
        shown = "\n".join(f"  {line}" for line in differences)
        raise Refused(
            f"study {sweep.name!r} exists with another spec:\n{shown}",
            hint="hpo launch FILE --name NEW makes another study, --fresh deletes this one",
        )


def _is_done(sweep: Sweep, study: optuna.Study, records: StudyRecords, say: Say) -> bool:
    """Say how much is done; whether nothing is left to do. Refuses another spec."""
    from hpo.holding import is_gone

    _check_same(sweep, study)
    trials = study.get_trials(deepcopy=False)
    done = sum(trial.state.is_finished() for trial in trials)
    total = sweep.budget.trials
    if total is None:
        say(f"{done} trials done, going on")
        return False
    say(f"{done} of {total} done, {max(0, total - done)} to go")
    lease = records.lease()
    free = lease is None or lease.released is not None or is_gone(lease.holder)
    # trials that a dead run left RUNNING are put back by a run, even when the budget is full
    return free and done >= total and not any(trial.state.name == "RUNNING" for trial in trials)


def _say(text: str) -> None:
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
