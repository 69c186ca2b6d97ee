"""Learning curves: the reported values of the trials by step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hpo.report.look import ACCENT, STATE_COLORS, NothingToShow, blank, focus, text, thin
from hpo.report.reading import leaders, objectives, step_word, trials_of

_LOOKS = ((TrialState.FAIL, 0.5), (TrialState.PRUNED, 0.45), (TrialState.RUNNING, 0.8), (TrialState.COMPLETE, 0.6))


def plot_learning_curves(study: Study, most: int = 200, points: int = 100) -> go.Figure:
    """Intermediate values by step: completed trials, pruned ones lighter, failed ones red, the winner on top.

    At most about `most` curves of at most `points` points are drawn, evenly spaced over the trials, the ten best
    always among them. One trace a state, so that the legend shows or hides it with one click. With several
    objectives the curve is the first one's. Raises NothingToShow when nothing was reported.
    """
    reported = [t for t in trials_of(study) if any(map(math.isfinite, t.intermediate_values.values()))]
    if not reported:
        raise NothingToShow("No trial reported intermediate values.")
    name = objectives(study)[0].name
    best = [t for t in leaders(study, 10) if t.intermediate_values]
    drawn = {t.number: t for t in [*thin(reported, most), *best]}
    shown = [drawn[key] for key in sorted(drawn)]
    figure = blank(step_word(study), name)
    for state, opacity in _LOOKS:
        of_state = [t for t in shown if t.state == state]
        if of_state:
            figure.add_trace(_lines(of_state, points, state.name.lower(), STATE_COLORS[state], opacity, name))
    if best:
        figure.add_trace(_lines(best[:1], points, f"best, trial {best[0].number}", ACCENT, 1.0, name, width=2.5))
    values = [v for t in shown for v in t.intermediate_values.values()]
    figure.update_yaxes(range=focus(values))
    return figure


def _lines(
    trials: Iterable[FrozenTrial], points: int, label: str, color: str, opacity: float, name: str, width: float = 1.2
) -> go.Scatter:
    """All curves as one trace, gaps between them; a trace each would be slow to draw and to switch off."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int] = []
    for trial in trials:
        curve = thin(sorted(trial.intermediate_values.items()), points)
        x += [step for step, _ in curve] + [None]
        y += [value if math.isfinite(value) else None for _, value in curve] + [None]
        numbers += [trial.number] * (len(curve) + 1)
    # a trial that reported once has no line: its point must be seen
    alone = len(x) == 2
    return go.Scatter(
        x=x,
        y=y,
        customdata=numbers,
        mode="lines+markers" if alone or len(numbers) <= 60 else "lines",
        marker={"size": 4},
        name=label,
        opacity=opacity,
        line={"color": color, "width": width},
        hovertemplate="trial %{customdata}<br>step %{x}<br>" + text(name) + " %{y:.5g}",
    )
