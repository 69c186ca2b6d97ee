"""What learning rates a space would try: sampled schedules, drawn before anything is trained."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hpo.errors import UserError
from hpo.report.document import document, place
from hpo.report.look import ACCENT, GRID, blank, number, text
from hpo.search.samplers import samplers
from hpo.space import Space
from hpo.whole_file import whole_file

_STEPS = 240
_COLUMNS = 4
_PANEL = 210
# told apart on white and on near-black alike; as many as there are schedules
_COLORS = (
    "#3b7ddd", "#35a273", "#d9534f", "#9467bd", "#c9a94b", "#17a2b8",
    "#e377c2", "#8c6d5a", "#7f9d2f", "#5b6ee1", "#c06014", "#6b8e9e", "#b5446e", "#4f9d8f",
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A sampled schedule: its name, its rates over a training, what was sampled for it. is_default: not sampled."""

    name: str
    rates: Sequence[float]
    settings: Mapping[str, Any]
    is_default: bool = False


def write_preview(
    name: str, space: Space, base: Mapping[str, Any], path: str | os.PathLike[str], samples: int = 50, seed: int = 0
) -> Path:
    """Draw `samples` learning-rate schedules of `space` into an HTML file that needs no network; its absolute path.

    base: what is not searched. A panel a schedule; the curve of the recommended values is the thick one.
    Raises UserError for a space that searches nothing of the learning rate, and when `path` cannot be written.
    """
    figure = plot_preview(name, space, base, samples, seed)
    note = (
        f"{samples} draws, spread evenly over the space (sampler: qmc), a panel a schedule. Hover for the parameters; "
        "the thick orange line has the recommended values."
    )
    top = f"<h1>Learning rates of {text(name)}</h1>"
    body = f'<section id="preview"><p class="note">{text(note)}</p>{place("preview", figure)}</section>'
    page = document(text(name), top, "", body, {"preview": figure})
    with whole_file(path, "--output") as file:
        file.write(page.encode("utf-8"))
    return Path(path).absolute()


def plot_preview(name: str, space: Space, base: Mapping[str, Any], samples: int = 50, seed: int = 0) -> go.Figure:
    """The figure. Raises UserError as `write_preview` does."""
    paths = [*space.parameters(), *space.ties]
    absolute = "optimizer.lr" in paths
    if not absolute and not any(path.startswith("schedule.") for path in paths):
        raise UserError(f"{name}: searches nothing of the learning rate (schedule.*, optimizer.lr), nothing to draw")
    drawn = [_drawn(params, space, base, absolute) for params in _samples(space, samples, seed)]
    default = _default(space, base, absolute)
    return _panels([*drawn, *([default] if default is not None else [])], absolute)


def _samples(space: Space, samples: int, seed: int) -> list[dict[str, Any]]:
    with _quiet():
        study = optuna.create_study(sampler=samplers.parse({"name": "qmc", "scramble": True}).build(seed, space))
        return [space.suggest(study.ask()) for _ in range(samples)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's notes on each study that is made."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # qmc warns of branches at each draw
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _default(space: Space, base: Mapping[str, Any], absolute: bool) -> Drawn | None:
    """The curve of the recommended values; None where something that it rests on has none."""
    with _quiet():
        study = optuna.create_study()
        study.enqueue_trial(space.defaults())
        drawn = _drawn(space.suggest(study.ask()), space, base, absolute, is_default=True)
    searched = space.parameters()
    rests = space.rests_on(drawn.settings) & searched.keys()
    return None if any(searched[path].default is None for path in rests) else drawn


def _drawn(
    params: Mapping[str, Any], space: Space, base: Mapping[str, Any], absolute: bool, is_default: bool = False
) -> Drawn:
    from hpo.schema import check, flatten
    from hpo.training import TrainingConfig, lr_curve, with_paths

    def of_rates(path: str) -> bool:
        return path.split(".")[0] == "schedule" or path == "optimizer.lr"

    settings = {path: value for path, value in space.settings(params).items() if of_rates(path)}
    fixed = {path: value for path, value in flatten(base).items() if of_rates(path)}
    config = with_paths(check(TrainingConfig, fixed, "base"), settings, "space")
    rates = lr_curve(config, max(_STEPS, 2 * config.schedule.warmup_steps))
    scale = 1.0 if absolute else config.optimizer.lr
    return Drawn(config.schedule.name, [float(rate / scale) for rate in rates], settings, is_default)


def _panels(drawn: Sequence[Drawn], absolute: bool) -> go.Figure:
    names = sorted({one.name for one in drawn})
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = make_subplots(
        rows,
        columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=[text(name) for name in names],
        horizontal_spacing=0.03,
        vertical_spacing=min(0.3, 44 / (_PANEL * rows)),
    )
    label = "learning rate" if absolute else "learning rate, as a share of the highest"
    height = 140 + _PANEL * rows
    figure.update_layout(blank("", "", height=height).layout)
    figure.update_layout(margin={"l": 72, "r": 16, "t": 76, "b": 52}, showlegend=False)
    for one in drawn:
        index = names.index(one.name)
        figure.add_trace(_curve(one, _COLORS[index % len(_COLORS)]), index // columns + 1, index % columns + 1)
    figure.update_xaxes(gridcolor=GRID, zeroline=False, tickformat=".0%", tickvals=[0.25, 0.5, 0.75])
    for index in range(max(len(names) - columns, 0), len(names)):  # the lowest of each column
        row, column = index // columns + 1, index % columns + 1
        figure.update_xaxes(title_text="share of the training", showticklabels=True, row=row, col=column)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, exponentformat="power")
    figure.update_yaxes(title_text=label, title_standoff=4, row=(rows + 1) // 2, col=1)
    _add_switch(figure, drawn, rows * columns, begins_log=absolute)
    return figure


def _curve(one: Drawn, color: str) -> go.Scatter:
    lines = "".join(
        f"<br>{text(path)} {text(number(value) if isinstance(value, float) else value)}"
        for path, value in one.settings.items()
    )
    head = "the recommended values" if one.is_default else text(one.name)
    return go.Scatter(
        x=np.linspace(0, 1, len(one.rates)),
        y=one.rates,
        name=text(one.name),
        mode="lines",
        opacity=1.0 if one.is_default else 0.75,
        line={"color": ACCENT if one.is_default else color, "width": 3.5 if one.is_default else 1.4},
        hovertemplate=f"<b>{head}</b>{lines}<br>%{{y:.3g}} at %{{x:.0%}}<extra></extra>",
    )


def _add_switch(figure: go.Figure, drawn: Sequence[Drawn], panels: int, begins_log: bool) -> None:
    """Buttons for the axis: rates far below any curve's own highest would only squeeze the rest."""
    highest = max(max(one.rates) for one in drawn)
    lowest = min(max(one.rates) for one in drawn) * 1e-3
    ranges = {
        "log": [math.log10(lowest), math.log10(highest * 1.5)],
        "linear": [0, highest * 1.05],
    }
    axes = ["yaxis" + ("" if index == 0 else str(index + 1)) for index in range(panels)]

    def how(kind: str) -> dict[str, Any]:
        return {f"{axis}.{key}": value for axis in axes for key, value in (("type", kind), ("range", ranges[kind]))}

    order = ("log", "linear") if begins_log else ("linear", "log")
    figure.update_yaxes(type=order[0], range=ranges[order[0]])
    figure.update_layout(
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "buttons": [{"label": kind, "method": "relayout", "args": [how(kind)]} for kind in order],
                "x": 0,
                "xanchor": "left",
                "y": 1,
                "yanchor": "bottom",
                "pad": {"b": 30, "t": 0},
                "showactive": True,
                "font": {"color": "#444"},
            }
        ]
    )
