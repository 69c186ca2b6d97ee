"""ROC curves: what it costs the winner to find the examples of each class."""

from __future__ import annotations

import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import TrialState

from hpo.report.look import STATE_COLORS, NothingToShow, blank, number
from hpo.report.reading import winner_by_class


def plot_roc_curves(study: Study) -> go.Figure:
    """A line for each class against all others: share of its examples found by share of the others taken for it.

    On the validation split, by the winner's network as its training left it; of two classes the second only. Raises
    NothingToShow when that was not kept, with several objectives, and where all examples are of one class.
    """
    curves = winner_by_class(study).roc
    if not curves:
        raise NothingToShow("All examples are of one class, so there is nothing to tell apart.")
    figure = blank("others taken for it", "found", height=480)
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"})
    for curve in curves:
        name = f"class {curve.of_class}"
        figure.add_trace(
            go.Scatter(
                x=curve.false_positives,
                y=curve.true_positives,
                name=f"{name} ({number(curve.area)})",
                mode="lines",
                line={"width": 1.5},
                hovertemplate=f"{name}<br>%{{y:.1%}} found<br>%{{x:.1%}} of the others taken for it<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            name="guessing",
            mode="lines",
            line={"color": STATE_COLORS[TrialState.PRUNED], "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
    figure.update_yaxes(tickformat=".0%", range=[-0.02, 1.02])
    return figure
