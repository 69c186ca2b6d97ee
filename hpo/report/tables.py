"""The words and tables of the page: header, winners, failures. Everything from a study passes through `text`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hpo.report.look import number, span, text
from hpo.report.reading import leaders, objectives, spec_of, trials_of, why_no_winner
from hpo.search import attributes
from hpo.search.company import company
from hpo.sweep.settings import Settings, settings_reader

_FAILURES_SHOWN = 200


def header(study: Study) -> str:
    """Tiles: trials in all and by state, the best value, the time taken."""
    trials = trials_of(study)
    counts = Counter(t.state for t in trials)
    tiles = [_tile("trials", str(len(trials)))]
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING):
        usual = state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        if usual or counts[state]:
            bad = "bad" if state == TrialState.FAIL and counts[state] else ""
            tiles.append(_tile(state.name.lower(), str(counts[state]), bad))
    named = objectives(study)
    winners = leaders(study, 1)
    if len(named) == 1 and winners:
        direction = "highest" if named[0].maximize else "lowest"
        tiles.append(_tile(f"{direction} {named[0].name}", number(winners[0].values[0]), "win"))
    taken = _seconds(trials)
    if taken is not None:
        tiles.append(_tile("time", span(taken)))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def sweep(study: Study) -> str:
    """One line on what was swept and how, from the spec; empty for a study that hpo did not make."""
    spec = spec_of(study)
    facts = [
        (key, _short(spec[key])) for key in ("task", "train", "constraints", "sampler", "pruner", "seed") if key in spec
    ]
    if not facts:
        return ""
    return '<p class="soft">' + " · ".join(f"{key} <code>{text(value)}</code>" for key, value in facts) + "</p>"


def winner(study: Study) -> str:
    """The winner's parameters and other metrics; the front as a table when there are several objectives."""
    if len(objectives(study)) > 1:
        return _ranking(study, 50)
    best = leaders(study, 1)
    if not best:
        return _no_winner(study)
    trial = best[0]
    settings = settings_reader(spec_of(study))(trial.params)
    rows = [(name, _value(value)) for name, value in sorted(settings.items())]
    metrics = trial.user_attrs.get(attributes.METRICS)
    if isinstance(metrics, Mapping):
        rows += [(str(name), _value(value)) for name, value in sorted(metrics.items())]
    pairs = "".join(f"<dt>{text(name)}</dt><dd><code>{text(value)}</code></dd>" for name, value in rows)
    ranking = f"<details><summary>The ten best</summary>{_ranking(study, 10)}</details>"
    how = company(trial.user_attrs)
    trained = f", trained {how}" if how else ""
    return f"<p>Trial {trial.number}{trained}</p><dl>{pairs}</dl>{ranking}"


def failures(study: Study) -> str:
    """Failed trials with their reasons; a sentence when there are none."""
    failed = trials_of(study, TrialState.FAIL)
    if not failed:
        return '<p class="empty">No trial failed.</p>'
    rows, settings = [], settings_reader(spec_of(study))
    for trial in failed[:_FAILURES_SHOWN]:
        reason = trial.user_attrs.get(attributes.REASON) or "no reason was recorded"
        last = max(trial.intermediate_values, default=None)
        taken = trial.duration.total_seconds() if trial.duration else None
        log = trial.user_attrs.get(attributes.LOG, "")
        rows.append(
            [
                str(trial.number),
                text(reason),
                "" if last is None else str(last),
                "" if taken is None else span(taken),
                text(log),
                _params(trial, settings),
            ]
        )
    more = len(failed) - len(rows)
    note = f'<p class="note">{more} more failed trials are not listed.</p>' if more > 0 else ""
    return _table(["trial", "reason", "last step", "after", "log", "parameters"], rows) + note


def _ranking(study: Study, most: int) -> str:
    named, settings = objectives(study), settings_reader(spec_of(study))
    rows = [
        [str(t.number), *(number(v) for v in t.values), _params(t, settings)]
        for t in leaders(study, most)
        if t.values is not None
    ]
    if not rows:
        return _no_winner(study)
    return _table(["trial", *(text(o.name) for o in named), "parameters"], rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are markup already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _tile(name: str, value: str, kind: str = "") -> str:
    return f'<div class="tile {kind}"><b>{text(value)}</b>{text(name)}</div>'


def _no_winner(study: Study) -> str:
    return f'<p class="empty">{why_no_winner(study)}, so there is no winner.</p>'


def _params(trial: FrozenTrial, settings: Settings) -> str:
    pairs = (f"{name}={_value(value)}" for name, value in sorted(settings(trial.params).items()))
    return f"<code>{text(', '.join(pairs))}</code>"


def _value(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _short(value: Any) -> str:
    """`tpe` for `tpe` and for `{"name": "tpe", ...}`; a list with commas."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value.get("name", "")) if isinstance(value, Mapping) else str(value)


def _seconds(trials: list[FrozenTrial]) -> float | None:
    """Wall time in which anything trained; pauses between runs do not count. None where nothing has ended."""
    spans = sorted((t.datetime_start, t.datetime_complete) for t in trials if t.datetime_start and t.datetime_complete)
    if not spans:
        return None
    total, until = 0.0, spans[0][0]
    for start, end in spans:
        total += max((end - max(start, until)).total_seconds(), 0.0)
        until = max(until, end)
    return total
