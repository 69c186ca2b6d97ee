"""status, trials, best, studies."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import _options as o
from hpo.cli._show import number, put, put_json, say, table
from hpo.errors import NotFound
from hpo.search.constraints import feasible

if TYPE_CHECKING:
    import optuna

    from hpo.studies import BestTrial, StudyStatus
    from hpo.sweep.settings import Settings


def status(name: o.Name, storage: o.Storage = None, as_json: o.Json = False) -> None:
    """Say where a study stands."""
    from hpo.studies import opened
    from hpo.studies import status as status_of

    with opened(name, storage) as (study, place):
        found = status_of(study, place.records(name).runs())
    if as_json:
        put_json(status_data(found))
    else:
        put(status_text(found))
        if found.can_go_on:
            say(f"\ngo on with  hpo resume {name}" + (f" --storage {storage}" if storage else ""))


def best(name: o.Name, storage: o.Storage = None, as_json: o.Json = False) -> None:
    """Show the best trial; with several objectives the Pareto front."""
    from hpo.studies import best_trials, opened
    from hpo.studies import status as status_of

    with opened(name, storage) as (study, place):
        trials, found = best_trials(study), status_of(study, place.records(name).runs())
        if as_json:
            data = [trial_data(trial, found) for trial in trials]
            put_json(data[0] if len(found.directions) == 1 else data)
        else:
            put("\n\n".join(best_text(trial, found) for trial in trials))


def studies(storage: o.Storage = None, as_json: o.Json = False) -> None:
    """List the studies of a storage."""
    from hpo.studies import all_statuses

    found, place = all_statuses(storage)
    if as_json:
        put_json([status_data(one) for one in found])
    elif not found:
        put(f"no studies in {place}")
    else:
        rows = [
            [one.name, one.state, f"{one.done} of {one.total}" if one.total else str(one.done), _best_cell(one)]
            for one in found
        ]
        put(table(["study", "state", "trials", "best"], rows))


def trials(
    name: o.Name,
    trial: Annotated[int | None, typer.Argument(help="show one trial in full, by its number", metavar="N")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write a table: .csv or .parquet", metavar="FILE")
    ] = None,
    curves: Annotated[bool, typer.Option("--curves", help="with -o: a row for each reported value")] = False,
    storage: o.Storage = None,
    as_json: o.Json = False,
) -> None:
    """List a study's trials, show one with its curve, reason and log, or write them all to a table."""
    from hpo.studies import kept_checkpoint, opened, settings_of, trial_numbers

    if output is not None:
        put(str(_write_table(name, output, curves, storage)))
        return
    with opened(name, storage) as (study, _):
        found, settings = study.get_trials(deepcopy=False), settings_of(study)
        if trial is None:
            _put_trials(found, settings, as_json)
            return
        if not 0 <= trial < len(found):
            raise NotFound(f"study {name!r} has no trial {trial}; {trial_numbers(len(found))}")
        if as_json:
            put_json(frozen_data(found[trial], settings))
        else:
            put(_one_trial(found[trial], settings, kept_checkpoint(study, trial)))


def _write_table(name: str, output: Path, curves: bool, storage: str | None) -> Path:
    from hpo.studies import opened
    from hpo.studies import status as status_of
    from hpo.trial_table import write_curves, write_trials

    with opened(name, storage) as (study, place):
        if not curves:
            return write_trials(study, output)
        records = place.records(name)
        return write_curves(study, status_of(study, records.runs()).metrics[0], records.metrics(), output)


def log(name: o.Name, storage: o.Storage = None, as_json: o.Json = False) -> None:
    """Say what the study's runs did, oldest first: launched, resumed, trials put back, taken over, ended."""
    from hpo.studies import opened

    with opened(name, storage) as (_, place):
        events = place.records(name).events()
    if as_json:
        put_json([{**asdict(event), "moment": event.moment} for event in events])
    elif not events:
        say(f"study {name!r} has no events: hpo never ran it")
    for event in () if as_json else events:
        put(f"{event.moment.astimezone().isoformat(sep=' ', timespec='seconds')}  {event.text}")


def _put_trials(found: list[optuna.trial.FrozenTrial], settings: Settings, as_json: bool) -> None:
    if as_json:
        put_json([frozen_data(trial, settings) for trial in found])
        return
    packed = any(trial.user_attrs.get("packed") for trial in found)
    rows = [
        [
            str(trial.number),
            trial.state.name,
            " ".join(number(value) for value in trial.values or []),
            str(len(trial.intermediate_values)),
            *(["yes" if trial.user_attrs.get("packed") else ""] if packed else []),
            _reason(trial)[:60],
            " ".join(f"{name}={_short(value)}" for name, value in settings(trial.params).items()),
        ]
        for trial in found
    ]
    put(table(["trial", "state", "value", "steps", *(["packed"] if packed else []), "reason", "parameters"], rows))


def _one_trial(trial: optuna.trial.FrozenTrial, settings: Settings, checkpoint: str | None) -> str:
    attrs = trial.user_attrs
    values = " ".join(number(value) for value in trial.values or [])
    lines = [f"trial {trial.number}: {trial.state.name} {values}".rstrip()]
    if _reason(trial):
        lines.append(f"reason: {_reason(trial)}")
    lines += [f"  {name}: {_short(value)}" for name, value in settings(trial.params).items()]
    lines += [f"step {step}: {number(value)}" for step, value in sorted(trial.intermediate_values.items())]
    lines += [f"{name} at the end: {number(value)}" for name, value in dict(attrs.get("metrics") or {}).items()]
    if trial.duration is not None:
        lines.append(f"took: {trial.duration.total_seconds():.1f} s")
    lines += [f"{key}: {attrs[key]}" for key in ("seed", "attempt", "log") if key in attrs]
    lines += ["packed: trained together with others, to a tolerance as by itself"] if attrs.get("packed") else []
    lines += [f"workers: {attrs['workers']}"] if attrs.get("workers") else []
    lines += [f"checkpoint: {checkpoint}"] if checkpoint is not None else []
    return "\n".join(lines)


def _reason(trial: optuna.trial.FrozenTrial) -> str:
    """Why it is FAIL or PRUNED, or cannot be the best though it is COMPLETE."""
    broken = trial.state.name == "COMPLETE" and not feasible(trial)
    return str(trial.user_attrs.get("reason") or ("it breaks a constraint" if broken else ""))


def frozen_data(trial: optuna.trial.FrozenTrial, settings: Settings = dict) -> dict[str, Any]:
    """A trial as JSON data. settings: what its parameters mean for its configuration."""
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "settings": settings(trial.params),
        "feasible": feasible(trial),
        "intermediate_values": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
        "started": trial.datetime_start,
        "ended": trial.datetime_complete,
        "attributes": trial.user_attrs,
    }


def status_data(found: StudyStatus) -> dict[str, Any]:
    """A study's standing as JSON data."""
    return {
        "name": found.name,
        "state": found.state,
        "reason": found.reason,
        "done": found.done,
        "total": found.total,
        "counts": dict(found.counts),
        "seconds": found.seconds,
        "default": found.default,
        "constraints": list(found.constraints),
        "met": found.met,
        "best": [trial_data(trial, found) for trial in found.best],
    }


def trial_data(trial: BestTrial, found: StudyStatus) -> dict[str, Any]:
    """A best trial as JSON data."""
    values = dict(zip(found.metrics, trial.values, strict=False))
    facts = {"study": found.name, "number": trial.number, "values": values, "params": dict(trial.params)}
    return {**facts, "settings": dict(trial.settings), "packed": trial.packed}


def status_text(found: StudyStatus) -> str:
    """A study's standing for people."""
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items() if count) or "no trials yet"
    total = f" of {found.total}" if found.total is not None else ""
    reason = f" ({found.reason})" if found.reason else ""
    lines = [f"study   {found.name}: {found.state}{reason}, {found.done}{total} trials ended", f"trials  {counts}"]
    if found.constraints:
        met = f"met by {found.met} of {found.counts['COMPLETE']}"
        lines.append(f"bounds  {', '.join(found.constraints)}: {met}")
    if len(found.directions) > 1 and found.best:
        count = f"{len(found.best)} trial{'s' if len(found.best) != 1 else ''}"
        lines.append(f"front   {count}, see  hpo best {found.name}")
    elif found.best:
        lines.append(best_text(found.best[0], found))
        if found.default is not None:
            gain = found.best[0].values[0] - found.default
            gain = gain if found.directions[0] == "maximize" else -gain
            beaten = f"{number(gain)} worse than the best" if gain > 0 else "not beaten"
            when = " when it was pruned" if found.default_pruned else ""
            lines.append(f"default trial 0: {found.metrics[0]} {number(found.default)}{when}, {beaten}")
    elif found.counts["COMPLETE"]:
        lines.append("best    none: no trial meets the constraints")
    return "\n".join(lines)


def best_text(trial: BestTrial, found: StudyStatus) -> str:
    """A best trial for people."""
    values = ", ".join(f"{metric} {number(value)}" for metric, value in zip(found.metrics, trial.values, strict=False))
    lines = [f"best    trial {trial.number}: {values}"]
    width = max((len(name) for name in trial.settings), default=0)
    lines += [f"        {name.ljust(width)}  {_short(value)}" for name, value in trial.settings.items()]
    return "\n".join(lines)


def _best_cell(found: StudyStatus) -> str:
    if not found.best:
        return ""
    if len(found.directions) > 1:
        return f"front of {len(found.best)}"
    return f"{found.metrics[0]} {number(found.best[0].values[0])} (trial {found.best[0].number})"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
