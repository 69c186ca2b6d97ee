"""check, launch, resume."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import _options as o
from hpo.cli._show import Clock, Progress, put, put_json, quiet, say
from hpo.errors import Interrupted, Refused, UserError

if TYPE_CHECKING:
    import optuna

    from hpo.sweep import Sweep


def check(file: o.SweepFile, overrides: o.Overrides = None, as_json: o.Json = False) -> None:
    """Validate a sweep file and print its canonical form; nothing is run or written."""
    from hpo.sweep import Sweep

    sweep = Sweep.from_file(file, overrides or ())
    for note in sweep.check_data():
        say(f"task: {note}")
    if as_json:
        put_json(sweep.canonical())
    else:
        put(sweep.to_yaml().rstrip())
        count = len(sweep.search_space.parameters())
        say(f"{file} is valid: {count} parameter{'s' if count != 1 else ''}")


def launch(
    file: o.SweepFile,
    overrides: o.Overrides = None,
    trials: o.Trials = None,
    time: o.Time = None,
    storage: o.Storage = None,
    name: Annotated[str | None, typer.Option(help="the study's name, instead of the file's")] = None,
    concurrency: o.Concurrency = None,
    pack: o.Pack = None,
    address: o.Address = None,
    takeover: o.Takeover = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="delete the study of this name first (asks)")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    quiet_: o.Quiet = False,
    as_json: o.Json = False,
) -> None:
    """Run a sweep, or go on with it, until the study's budget is used."""
    from hpo.runs import launch as launch_sweep
    from hpo.studies import choose_storage
    from hpo.sweep import Sweep

    flags = _flags(trials=trials, time=time, concurrency=concurrency, pack=pack, name=name)
    sweep = Sweep.from_file(file, [*(overrides or ()), *flags])
    if fresh and not yes:
        _ask_to_delete(sweep, storage)
    silent = quiet_ or as_json
    clock = Clock()
    with _Resumable(sweep.name, storage), Progress(sweep.name, silent=silent) as show:
        study = launch_sweep(
            sweep,
            storage=storage,
            address=address,
            fresh=fresh,
            takeover=takeover,
            show=show,
            say=quiet if silent else say,
        )
    _finish(study, choose_storage(storage, sweep.storage)[0], clock, storage, silent=silent, as_json=as_json)


def resume(
    name: o.Name,
    overrides: o.FreeOverrides = None,
    trials: o.Trials = None,
    time: o.Time = None,
    storage: o.Storage = None,
    concurrency: o.Concurrency = None,
    pack: o.Pack = None,
    address: o.Address = None,
    takeover: o.Takeover = False,
    quiet_: o.Quiet = False,
    as_json: o.Json = False,
) -> None:
    """Go on with a study to its budget; needs no file."""
    from hpo.runs import resume as resume_study
    from hpo.studies import choose_storage

    silent = quiet_ or as_json
    clock = Clock()
    with _Resumable(name, storage), Progress(name, silent=silent) as show:
        study = resume_study(
            name,
            storage=storage,
            overrides=[
                *(overrides or ()),
                *_flags(trials=trials, time=time, concurrency=concurrency, pack=pack),
            ],
            address=address,
            takeover=takeover,
            show=show,
            say=quiet if silent else say,
        )
    _finish(study, choose_storage(storage)[0], clock, storage, silent=silent, as_json=as_json)


def _flags(
    trials: str | None = None,
    time: str | None = None,
    concurrency: str | None = None,
    pack: str | None = None,
    name: str | None = None,
) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = [
        ("budget.trials", _whole(trials)),
        ("budget.time", time),
        ("concurrency", _whole(concurrency)),
        ("pack", _whole(pack)),
        ("name", name),
    ]
    return [(path, value) for path, value in pairs if value is not None]


def _whole(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _ask_to_delete(sweep: Sweep, storage: str | None) -> None:
    from hpo.studies import choose_storage, status

    url, _ = choose_storage(storage, sweep.storage)
    from hpo.storage import open_storage

    with open_storage(url) as opened:
        if not opened.exists(sweep.name):
            return
        import optuna

        study = optuna.load_study(study_name=sweep.name, storage=opened.optuna)
        found = status(study, opened.records(sweep.name).runs())
        place = opened.place
    if not sys.stdin.isatty():
        raise Refused(f"--fresh would delete study {sweep.name!r} with {found.done} trials", hint="add --yes")
    if not typer.confirm(f"delete study {sweep.name!r} with {found.done} trials in {place}?", err=True):
        raise Refused(f"study {sweep.name!r} was kept; nothing was started")


class _Resumable:
    """Adds to an interrupt how to go on."""

    def __init__(self, name: str, storage: str | None) -> None:
        self._command = f"hpo resume {name}" + (f" --storage {storage}" if storage else "")

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, tb: Any) -> None:
        if isinstance(error, Interrupted) and error.hint is None:
            error.hint = f"trials in flight were put back; go on with  {self._command}"
        elif error is not None and not isinstance(error, UserError) and not _is_taken_over(error):
            say(f"go on with  {self._command}")


def _is_taken_over(error: BaseException) -> bool:
    from hpo.storage import Fenced

    return isinstance(error, Fenced)


def _finish(study: optuna.Study, url: str, clock: Clock, storage: str | None, *, silent: bool, as_json: bool) -> None:
    from hpo.cli.studies import status_data, status_text
    from hpo.progress import time_text
    from hpo.storage import open_storage
    from hpo.studies import status

    with open_storage(url) as opened:
        found = status(study, opened.records(study.study_name).runs())
    if as_json:
        put_json(status_data(found))
        return
    if not silent:
        early = "" if found.total is None or found.done >= found.total else f": {found.reason or 'stopped early'}"
        say(f"\n{found.name}: {found.done} of {found.total or found.done} trials in {time_text(clock.seconds)}{early}")
    put(status_text(found))
    if not silent:
        where = f" --storage {storage}" if storage else ""
        how = next((trial.company for trial in found.best if trial.company), None)
        verify, why = (" --verify", f"   # trained {how}: by itself first") if how else ("", "")
        which = f" --trial {found.best[0].number}" if len(found.directions) > 1 and found.best else ""  # one of a front
        export = f"\n       hpo export {found.name}{which}{verify} -o best.yaml{where}{why}\n       hpo train best.yaml"
        say(f"\nnext:  hpo report {found.name} -o report.html{where}{export if found.best else ''}")
