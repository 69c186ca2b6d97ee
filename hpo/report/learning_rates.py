"""Learning rates of the best trials over their training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from optuna.study import Study
from plotly.colors import sample_colorscale

from hpo.errors import UserError
from hpo.report.look import ACCENT, NothingToShow, blank, number, text
from hpo.report.reading import leaders, objectives, spec_of, value_of, why_no_winner
from hpo.sweep.settings import settings_reader

# finer than a screen shows; a schedule's shape does not depend on it
_STEPS = 400


def plot_learning_rates(study: Study, best: int = 10) -> go.Figure:
    """Learning rate against the share of the training done, for the `best` best trials; the winner on top.

    Computed from the study's base configuration and the trial's parameters. Raises NothingToShow for a sweep of a
    user's own loop, which owns its learning rate, and when no trial completed. A trial whose warmup is given in steps
    is left out, because the study does not say how many steps its training had.
    """
    spec = spec_of(study)
    if not spec.get("task"):
        raise NothingToShow("The training function is the user's own, and so is its learning rate.")
    winners = leaders(study, best)
    if not winners:
        raise NothingToShow(f"{why_no_winner(study)} yet.")
    first, settings = objectives(study)[0], settings_reader(spec)
    figure = blank("share of the training", "learning rate")
    figure.update_layout(legend_traceorder="reversed")  # drawn last to lie on top, read first
    figure.update_xaxes(tickformat=".0%")
    figure.update_yaxes(type="log", exponentformat="power")
    shades = sample_colorscale("Blues", list(np.linspace(0.85, 0.35, max(len(winners), 2))))
    for place, trial in reversed(list(enumerate(winners))):
        rates = _rates(spec.get("base") or {}, settings(trial.params))
        if rates is None:
            continue
        value = value_of(trial, first)
        figure.add_trace(
            go.Scatter(
                x=np.linspace(0, 1, len(rates)),
                # on a log axis a zero would be a gap in the middle of the line
                y=[rate if rate > 0 else None for rate in rates],
                name=f"trial {trial.number}" + ("" if value is None else f" ({number(value)})"),
                mode="lines",
                line={"color": ACCENT if place == 0 else shades[place], "width": 2.5 if place == 0 else 1.5},
                hovertemplate=f"trial {trial.number}<br>" + text("learning rate") + " %{y:.3g}<br>at %{x:.0%}",
            )
        )
    if not figure.data:
        raise NothingToShow("The warmup is given in steps, and the study does not say how many steps a training had.")
    return figure


def _rates(base: Mapping[str, Any], params: Mapping[str, Any]) -> list[float] | None:
    # torch need not be there to read a study, and comes with this import
    from hpo.schema import check, flatten
    from hpo.training import TrainingConfig, lr_curve, with_paths

    # the model has no say in the learning rate, and a user's own is a free mapping
    kept = {path: value for path, value in flatten(base).items() if path.split(".")[0] != "model"}
    searched = {path: value for path, value in params.items() if path.split(".")[0] != "model"}
    try:
        config = with_paths(check(TrainingConfig, kept, "base"), searched)
        if config.schedule.warmup_steps:
            return None
        return [float(rate) for rate in lr_curve(config, _STEPS)]
    except UserError as error:
        raise NothingToShow(f"The learning rates cannot be computed here: {error}") from error
