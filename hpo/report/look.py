"""How figures look: colours, an empty figure with titled axes, escaping, thinning. No study is read here."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import plotly.graph_objects as go
from optuna.trial import TrialState

from hpo.errors import UserError, mask

# chosen to be told apart on white and on near-black alike
STATE_COLORS = {
    TrialState.COMPLETE: "#3b7ddd",
    TrialState.PRUNED: "#a3a9b5",
    TrialState.FAIL: "#d9534f",
    TrialState.RUNNING: "#35a273",
    TrialState.WAITING: "#c9a94b",
}
ACCENT = "#e8830c"
GRID = "rgba(128,128,128,0.22)"

T = TypeVar("T")


class NothingToShow(UserError):
    """A figure has nothing to draw for this study; the sentence says why. The page prints it in the figure's place."""


def blank(x: str, y: str, height: int = 400) -> go.Figure:
    """A figure without traces whose axes are called `x` and `y`; transparent, so that the page's colours show."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 64, "r": 16, "t": 16, "b": 52},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
        hoverlabel={"align": "left", "namelength": -1},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#8b93a1", "activecolor": ACCENT},
    )
    figure.update_xaxes(title_text=text(x), gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(title_text=text(y), gridcolor=GRID, zeroline=False, automargin=True)
    return figure


def text(raw: object) -> str:
    """`raw` as text for a page or a figure, where it cannot act as markup: escaped, passwords in URLs masked."""
    return html.escape(mask(str(raw)))


def number(value: float) -> str:
    """A value as people compare it: four significant digits."""
    return f"{value:.4g}"


def span(seconds: float) -> str:
    """A duration in words: `8.2 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def thin(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spaced, the first and the last always among them."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def focus(values: Sequence[float]) -> list[float] | None:
    """The range an axis opens with when a few values are so far off that they would flatten all others.

    None when all of them can be seen together. A double click shows the whole range.
    """
    finite = np.asarray([v for v in values if np.isfinite(v)])
    if finite.size < 8:
        return None
    low, high = np.quantile(finite, [0.02, 0.9])
    core = high - low
    if core <= 0 or finite.max() - finite.min() <= 20 * core:
        return None
    return [float(max(low - core, finite.min()) - 0.05 * core), float(min(high + core, finite.max()) + 0.05 * core)]
