"""Timeline: when each trial ran, and what became of it."""

from __future__ import annotations

import datetime
from heapq import heappop, heappush

import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hpo.report.look import STATE_COLORS, NothingToShow, blank, span, text
from hpo.report.reading import trials_of
from hpo.search import attributes


def plot_timeline(study: Study) -> go.Figure:
    """A bar for each trial from its start to its end, coloured by state; a row holds trials that ran one after another.

    Rows are as many as trials ran at once. A trial that still runs reaches to the latest time known. Raises
    NothingToShow when no trial has started.
    """
    started = sorted(
        (t for t in trials_of(study) if t.datetime_start is not None and t.state != TrialState.WAITING), key=_start
    )
    if not started:
        raise NothingToShow("No trial has started yet.")
    latest = max(t.datetime_complete or _start(t) for t in started)
    rows = _rows(started, latest)
    figure = blank("time", "trials at once", height=130 + 26 * min(max(rows.values()), 24))
    for state, color in STATE_COLORS.items():
        of_state = [t for t in started if t.state == state]
        if not of_state:
            continue
        seconds = [max((_end(t, latest) - _start(t)).total_seconds(), 0) for t in of_state]
        figure.add_trace(
            go.Bar(
                base=[_start(t) for t in of_state],
                x=[1000 * s for s in seconds],
                y=[rows[t.number] for t in of_state],
                orientation="h",
                width=0.8,
                name=state.name.lower(),
                marker={"color": color, "line": {"width": 0.5, "color": "rgba(255,255,255,0.5)"}},
                hovertext=[_about(t, s) for t, s in zip(of_state, seconds, strict=True)],
                hoverinfo="text",
            )
        )
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(type="date")
    figure.update_yaxes(dtick=max(1, max(rows.values()) // 10), autorange="reversed")
    return figure


def _start(trial: FrozenTrial) -> datetime.datetime:
    assert trial.datetime_start is not None
    return trial.datetime_start


def _end(trial: FrozenTrial, latest: datetime.datetime) -> datetime.datetime:
    return trial.datetime_complete or latest


def _rows(started: list[FrozenTrial], latest: datetime.datetime) -> dict[int, int]:
    """The row of each trial, from 1: the lowest one that is free at its start."""
    free: list[int] = []
    busy: list[tuple[datetime.datetime, int]] = []
    rows: dict[int, int] = {}
    for trial in started:
        while busy and busy[0][0] <= _start(trial):
            heappush(free, heappop(busy)[1])
        row = heappop(free) if free else len(busy) + 1
        rows[trial.number] = row
        heappush(busy, (_end(trial, latest), row))
    return rows


def _about(trial: FrozenTrial, seconds: float) -> str:
    known = [key for key in (attributes.REASON, attributes.LOG) if trial.user_attrs.get(key)]
    details = [f"{key}: {text(str(trial.user_attrs[key])[:200])}" for key in known]
    return "<br>".join([f"trial {trial.number}: {trial.state.name.lower()}", span(seconds), *details])
