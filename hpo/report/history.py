"""Optimization history: what each trial reached, and the best so far."""

from __future__ import annotations

import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hpo.report.look import ACCENT, STATE_COLORS, NothingToShow, blank, focus, number, text
from hpo.report.reading import Objective, finished, objectives, value_of
from hpo.search.constraints import feasible


def plot_history(study: Study, objective: int = 0) -> go.Figure:
    """Value against trial number: completed trials, pruned ones lighter, and the best so far as a line.

    A pruned trial stands at its last reported value and never counts as best; neither does an infeasible one.
    Raises NothingToShow when no trial has a finite value.
    """
    shown = objectives(study)[objective]
    valued = [(t, v) for t in finished(study) if (v := value_of(t, shown)) is not None]
    if not valued:
        raise NothingToShow("No trial has a value yet.")
    figure = blank("trial", shown.name)
    for state, size, opacity in ((TrialState.PRUNED, 5, 0.6), (TrialState.COMPLETE, 7, 0.9)):
        of_state = [(t, v) for t, v in valued if t.state == state]
        if of_state:
            figure.add_trace(
                go.Scatter(
                    x=[t.number for t, _ in of_state],
                    y=[v for _, v in of_state],
                    mode="markers",
                    name=state.name.lower(),
                    marker={"color": STATE_COLORS[state], "size": size, "opacity": opacity},
                    hovertemplate="trial %{x}<br>" + text(shown.name) + " %{y:.5g}",
                )
            )
    _add_best(figure, valued, shown)
    figure.update_yaxes(range=focus([v for _, v in valued]))
    return figure


def _add_best(figure: go.Figure, valued: list[tuple[FrozenTrial, float]], shown: Objective) -> None:
    steps: list[tuple[int, float]] = []
    for trial, value in valued:
        may_win = trial.state == TrialState.COMPLETE and feasible(trial)
        if may_win and (not steps or shown.better(value, steps[-1][1])):
            steps.append((trial.number, value))
    if not steps:
        return
    last = (valued[-1][0].number, steps[-1][1])
    x, y = zip(*[*steps, last], strict=True)
    name = f"best so far ({number(steps[-1][1])}, trial {steps[-1][0]})"
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines", name=name, line={"shape": "hv", "color": ACCENT, "width": 2}, hoverinfo="skip"
        )
    )
