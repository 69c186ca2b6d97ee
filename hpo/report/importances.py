"""Which parameters mattered."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from optuna.importance import get_param_importances
from optuna.study import Study
from optuna.trial import TrialState

from hpo.report.look import STATE_COLORS, NothingToShow, blank, text
from hpo.report.reading import trials_of

# below it the best tenth, which the estimate is made from, is a single trial
FEWEST = 20


def plot_importances(study: Study) -> go.Figure:
    """Share of each parameter in being among the best tenth (PED-ANOVA, Optuna's default, arXiv:2304.10255).

    Conditional parameters are rated where they are active (arXiv:2601.20800). With several objectives "best" means
    near the Pareto front. Raises NothingToShow below 20 completed trials with finite values, or without parameters.
    """
    able = [t for t in trials_of(study, TrialState.COMPLETE) if t.values and all(map(math.isfinite, t.values))]
    if len(able) < FEWEST:
        raise NothingToShow(
            f"Too few completed trials to tell which parameters matter: {len(able)}, and {FEWEST} are needed."
        )
    if len({tuple(t.values) for t in able}) == 1:
        raise NothingToShow("All completed trials have the same value, so no parameter can be told to matter.")
    shares = get_param_importances(study)
    if not shares:
        raise NothingToShow("No parameter was searched.")
    rising = list(reversed(shares.items()))
    figure = blank(f"share of the importance ({len(able)} completed trials)", "", height=110 + 28 * len(rising))
    figure.add_trace(
        go.Bar(
            x=[float(share) for _, share in rising],
            y=[text(name) for name, _ in rising],
            orientation="h",
            marker={"color": STATE_COLORS[TrialState.COMPLETE]},
            text=[f"{share:.2f}" if share >= 0.01 else "<0.01".replace("<", "&lt;") for _, share in rising],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    figure.update_xaxes(range=[0, 1.1 * max(float(share) for share in shares.values())])
    figure.update_yaxes(type="category")
    return figure
