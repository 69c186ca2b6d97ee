"""Other metrics: everything that trials report besides the objective, by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from hpo.report.look import ACCENT, GRID, STATE_COLORS, NothingToShow, blank, focus, text, thin
from hpo.report.reading import finished, leaders, step_word

Curves = Mapping[int, Mapping[str, Mapping[int, float]]]
"""Values by trial number, by name, by step."""
ReadMetrics = Callable[[Iterable[int]], Curves]
"""Gives the curves of the trials with these numbers."""

_COLUMNS = 2


def plot_other_metrics(study: Study, read: ReadMetrics, most: int = 60, points: int = 100) -> go.Figure:
    """One panel a metric, a line a trial coloured by its state, the winner's on top.

    Of many trials about `most` are read and drawn, evenly spaced, the five best always among them, each with at most
    `points` points. Raises NothingToShow when nothing but the objective was reported.
    """
    best = leaders(study, 5)
    drawn = {trial.number: trial for trial in [*thin(finished(study), most), *best]}
    curves = read(drawn)
    names = sorted({name for of_trial in curves.values() for name in of_trial})
    if not names:
        raise NothingToShow("Trials reported nothing besides the objective.")
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = make_subplots(rows, columns, horizontal_spacing=0.08, vertical_spacing=min(0.3, 90 / (260 * rows)))
    figure.update_layout(blank("", "", height=80 + 260 * rows).layout, showlegend=False)
    for place, name in enumerate(names):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        shown = [trial for _, trial in sorted(drawn.items()) if name in curves.get(trial.number, {})]
        for trial in sorted(shown, key=lambda trial: trial in best[:1]):
            figure.add_trace(_line(trial, name, curves[trial.number][name], points, trial in best[:1]), **where)
        values = [value for trial in shown for value in curves[trial.number][name].values()]
        figure.update_xaxes(title_text=step_word(study), gridcolor=GRID, zeroline=False, **where)
        figure.update_yaxes(title_text=text(name), gridcolor=GRID, zeroline=False, range=focus(values), **where)
    return figure


def _line(trial: FrozenTrial, name: str, curve: Mapping[int, float], points: int, winner: bool) -> go.Scatter:
    shown = thin(sorted(curve.items()), points)
    return go.Scatter(
        x=[step for step, _ in shown],
        y=[value if math.isfinite(value) else None for _, value in shown],
        mode="lines" if len(shown) > 1 else "markers",
        line={"color": ACCENT if winner else STATE_COLORS[trial.state], "width": 2.5 if winner else 1},
        marker={"size": 4},
        opacity=1 if winner else 0.5,
        hovertemplate=f"trial {trial.number}<br>step %{{x}}<br>{text(name)} %{{y:.5g}}<extra></extra>",
    )
