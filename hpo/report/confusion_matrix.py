"""Confusion matrix: what the winner takes the examples of each class for."""

from __future__ import annotations

import plotly.graph_objects as go
from optuna.study import Study

from hpo.report.look import blank
from hpo.report.reading import winner_by_class

_READABLE = 20  # classes up to which a count fits into its cell


def plot_confusion_matrix(study: Study) -> go.Figure:
    """A row for each class, coloured by the share of its examples that were taken for each class, with their counts.

    On the validation split, by the winner's network as its training left it. Raises NothingToShow when that was not
    kept, and with several objectives.
    """
    counts_CC = winner_by_class(study).confusion
    classes = [str(c) for c in range(len(counts_CC))]
    figure = blank("taken for", "class", height=120 + max(28 * min(len(classes), _READABLE), 12 * len(classes)))
    figure.add_trace(
        go.Heatmap(
            x=classes,
            y=classes,
            z=[[count / sum(row) if sum(row) else None for count in row] for row in counts_CC],
            zmin=0,
            zmax=1,
            # nothing stays the page's own colour, and a few wrong ones can be told from none
            colorscale=[[0, "rgba(59,125,221,0)"], [1e-9, "rgba(59,125,221,0.18)"], [1, "rgba(59,125,221,0.9)"]],
            text=[[str(count) if count else "" for count in row] for row in counts_CC],
            texttemplate="%{text}" if len(classes) <= _READABLE else None,
            customdata=counts_CC,
            hovertemplate="class %{y}, taken for %{x}<br>%{customdata} examples, %{z:.1%} of the class<extra></extra>",
            colorbar={"title": {"text": "share"}, "thickness": 10, "outlinewidth": 0, "tickformat": ".0%"},
        )
    )
    figure.update_xaxes(type="category", showgrid=False, constrain="domain")
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", scaleanchor="x", constrain="domain")
    return figure
