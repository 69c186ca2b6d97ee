"""Pareto front: what several objectives trade against each other."""

from __future__ import annotations

import itertools
import math

import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from plotly.subplots import make_subplots

from hpo.report.look import ACCENT, GRID, STATE_COLORS, NothingToShow, blank, text
from hpo.report.reading import Objective, objectives, trials_of
from hpo.search.constraints import feasible

_FRONT, _BROKEN = "front", "breaks a constraint"


def plot_pareto_front(study: Study) -> go.Figure:
    """A panel for each pair of objectives: the trials that no other dominates, and the others lighter.

    Raises NothingToShow for a single objective and when no trial completed with finite values.
    """
    named = objectives(study)
    if len(named) < 2:
        raise NothingToShow("The study has one objective, so there is one winner and no front.")
    done = [t for t in trials_of(study, TrialState.COMPLETE) if all(map(math.isfinite, t.values))]
    if not done:
        raise NothingToShow("No trial has completed yet.")
    front = {t.number for t in study.best_trials}
    pairs = list(itertools.combinations(named, 2))
    columns = min(2, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    figure = make_subplots(rows, columns, horizontal_spacing=0.1, vertical_spacing=0.25 / rows)
    figure.update_layout(blank("", "", height=60 + 340 * rows).layout)
    for place, (across, up) in enumerate(pairs):
        row, column = place // columns + 1, place % columns + 1
        for name, trials in _parted(done, front).items():
            figure.add_trace(_points(trials, across, up, name, legend=place == 0), row, column)
        figure.update_xaxes(title_text=text(across.name), row=row, col=column)
        figure.update_yaxes(title_text=text(up.name), row=row, col=column)
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    return figure


def _parted(done: list[FrozenTrial], front: set[int]) -> dict[str, list[FrozenTrial]]:
    """By what the legend says of them, the front last and so on top; what breaks a constraint only where some do."""
    broken = [t for t in done if not feasible(t)]
    beaten = [t for t in done if feasible(t) and t.number not in front]
    apart = {_BROKEN: broken} if broken else {}
    return {**apart, "beaten by another trial": beaten, _FRONT: [t for t in done if t.number in front]}


def _points(trials: list[FrozenTrial], across: Objective, up: Objective, name: str, legend: bool) -> go.Scatter:
    on_front = name == _FRONT
    return go.Scatter(
        x=[t.values[across.index] for t in trials],
        y=[t.values[up.index] for t in trials],
        customdata=[t.number for t in trials],
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=legend,
        marker={
            "color": ACCENT if on_front else STATE_COLORS[TrialState.PRUNED],
            "size": 9 if on_front else 6,
            "symbol": "x-thin-open" if name == _BROKEN else "circle",
            "opacity": 0.95 if on_front else 0.6,
        },
        hovertemplate=f"trial %{{customdata}}<br>{text(across.name)} %{{x:.5g}}<br>{text(up.name)} %{{y:.5g}}"
        "<extra></extra>",
    )
