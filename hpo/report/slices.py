"""Slices: the value against each parameter."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from plotly.subplots import make_subplots

from hpo.report.look import GRID, NothingToShow, blank, focus, text, thin
from hpo.report.reading import Objective, objectives, ranked, trials_of, value_of

_COLUMNS = 3


def plot_slices(study: Study, objective: int = 0, most: int = 500) -> go.Figure:
    """One panel a parameter, value against parameter, later trials darker; log axes where the search was logarithmic.

    A conditional parameter shows the trials that had it. Completed trials only; of more than `most` the fifty best
    and an even choice of the others. Raises NothingToShow without completed trials or without parameters.
    """
    shown = objectives(study)[objective]
    done = [t for t in trials_of(study, TrialState.COMPLETE) if value_of(t, shown) is not None]
    if not done:
        raise NothingToShow("No trial has completed yet.")
    if len(done) > most:
        kept = {t.number: t for t in [*ranked(study, shown)[:50], *thin(done, most - 50)]}
        done = [kept[key] for key in sorted(kept)]
    # the last trial's word counts where a study's space was changed on the way
    domains: dict[str, BaseDistribution] = {name: d for t in done for name, d in t.distributions.items()}
    if not domains:
        raise NothingToShow("No parameter was searched.")
    return _grid(done, dict(sorted(domains.items())), shown)


def _grid(done: list[FrozenTrial], domains: dict[str, BaseDistribution], shown: Objective) -> go.Figure:
    columns = min(_COLUMNS, len(domains))
    rows = math.ceil(len(domains) / columns)
    figure = make_subplots(
        rows, columns, shared_yaxes="all", horizontal_spacing=0.03, vertical_spacing=min(0.3, 90 / (260 * rows))
    )
    figure.update_layout(blank("", "", height=80 + 260 * rows).layout, showlegend=False)
    newest = max(t.number for t in done)
    for place, (name, domain) in enumerate(domains.items()):
        row, column = place // columns + 1, place % columns + 1
        having = [t for t in done if name in t.params]
        figure.add_trace(_points(having, name, domain, shown, newest, bar=place == 0), row, column)
        figure.update_xaxes(title_text=text(name), gridcolor=GRID, zeroline=False, row=row, col=column)
        if isinstance(domain, CategoricalDistribution):
            choices = [text(choice) for choice in domain.choices]
            figure.update_xaxes(type="category", categoryorder="array", categoryarray=choices, row=row, col=column)
        elif getattr(domain, "log", False):
            # plotly marks 2 and 5 between the powers of ten, which crowds a panel as narrow as these
            values = [float(t.params[name]) for t in having]
            ticks = 1 if max(values) >= 100 * min(values) else None
            figure.update_xaxes(type="log", exponentformat="power", dtick=ticks, row=row, col=column)
    values = [v for t in done if (v := value_of(t, shown)) is not None]
    figure.update_yaxes(gridcolor=GRID, zeroline=False, range=focus(values))
    figure.update_yaxes(title_text=text(shown.name), col=1)
    return figure


def _points(
    having: list[FrozenTrial], name: str, domain: BaseDistribution, shown: Objective, newest: int, bar: bool
) -> go.Scatter:
    as_text = isinstance(domain, CategoricalDistribution)
    return go.Scatter(
        x=[text(t.params[name]) if as_text else t.params[name] for t in having],
        y=[value_of(t, shown) for t in having],
        customdata=[t.number for t in having],
        mode="markers",
        marker={
            "size": 6,
            "opacity": 0.8,
            "color": [t.number for t in having],
            "cmin": 0,
            "cmax": max(newest, 1),
            "colorscale": [[0, "#b9cdf2"], [1, "#1c4fa3"]],
            "line": {"width": 0.5, "color": "rgba(128,128,128,0.6)"},
            "showscale": bar,
            "colorbar": {"title": {"text": "trial"}, "thickness": 10, "outlinewidth": 0},
        },
        hovertemplate="trial %{customdata}<br>%{x}<br>" + text(shown.name) + " %{y:.5g}<extra></extra>",
    )
