"""The tables and the chart of packs.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import plotly.graph_objects as go
from ends import reached

from hpo.report.document import document, place
from hpo.report.look import blank, text

Run = dict[str, Any]
"""A line of packs.py: the sweep, its side, rule and seed, and what it took."""
B = "b ray tune, reuse"
COLORS = {"a": "#a3a9b5", "b": "#a3a9b5", "c": "#c9a94b", "d": "#9cc2f0", "e": "#3b7ddd"}  # by the letter of a side


def by_side(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each side, in order of their seeds."""
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run["side"], run["seed"])):
        found.setdefault(run["side"], []).append(run)
    return found


def times_to_b(found: dict[str, list[Run]]) -> dict[str, list[float]]:
    """Seconds until each run had a trial as good as the best of (b) with the same seed; inf where it never had."""
    targets = {run["seed"]: run["best"] for run in found.get(B, [])}
    return {
        name: [reached([(at, value) for at, value in run["climb"]], targets[run["seed"]]) for run in runs]
        for name, runs in found.items()
        if all(run["seed"] in targets for run in runs)
    }


def table(runs: list[Run]) -> str:
    """Medians of each side of one sweep, and how many times as much the others take as ours by their rule."""
    found = by_side(runs)
    to_b = times_to_b(found)
    counts = sorted({len(own) for own in found.values()})
    lines = [f"{setting(runs[0])}, medians of {' to '.join(map(str, counts))} alternated runs:", ""]
    head = ["side", "seconds", "epochs trained", "member-steps a second", "time to b, s", "CPU s a trial"]
    head += ["peak memory, GB", "best val_accuracy"]
    lines += [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name, own in found.items():
        cells = [
            name,
            f"{middle(own, lambda run: run['seconds']):.1f}",
            f"{middle(own, lambda run: run['epochs_trained']):.0f}",
            f"{middle(own, lambda run: run['steps'] / run['seconds']):.0f}",
            seconds(median(to_b[name])) if name in to_b else "-",
            f"{middle(own, lambda run: run['cpu_seconds'] / run['trials']):.2f}",
            f"{middle(own, lambda run: run['peak_bytes'] / 1e9):.2f}",
            f"{middle(own, lambda run: run['best']):.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *ratios(found, to_b)])


def ratios(found: dict[str, list[Run]], to_b: dict[str, list[float]]) -> list[str]:
    """A line for each side that ours, `pack: auto` under the same rule, stands beside: medians over the rounds."""
    lines = []
    for name, runs in found.items():
        own = next((n for n, r in found.items() if n.startswith("e ") and r[0]["rule"] == runs[0]["rule"]), name)
        if own == name:
            continue
        pairs = list(zip(*matched(runs, found[own]), strict=True))
        if not pairs:
            continue
        figures = {
            "seconds": median(a["seconds"] / b["seconds"] for a, b in pairs),
            "seconds an epoch": median(
                (a["seconds"] / a["epochs_trained"]) / (b["seconds"] / b["epochs_trained"]) for a, b in pairs
            ),
            "CPU seconds": median(a["cpu_seconds"] / b["cpu_seconds"] for a, b in pairs),
            "peak memory": median(a["peak_bytes"] / b["peak_bytes"] for a, b in pairs),
        }
        if name in to_b and own in to_b:
            at, ours = median(to_b[name]), median(to_b[own])
            figures["time to b"] = at / ours if math.isfinite(at) and math.isfinite(ours) else math.nan
        said = ", ".join(f"{value:.2f}x the {what}" for what, value in figures.items() if math.isfinite(value))
        lines.append(f"{name}: {said} of {own}")
    return lines


def matched(one: list[Run], other: list[Run]) -> tuple[list[Run], list[Run]]:
    """The runs of both sides that have the same seeds."""
    seeds = {run["seed"] for run in one} & {run["seed"] for run in other}
    return [run for run in one if run["seed"] in seeds], [run for run in other if run["seed"] in seeds]


def middle(runs: list[Run], what: Callable[[Run], float]) -> float:
    """The median of a figure."""
    return median(what(run) for run in runs)


def seconds(value: float) -> str:
    """Seconds, where they are finite."""
    return f"{value:.1f}" if math.isfinite(value) else "never"


def setting(run: Run) -> str:
    """The sweep of a run in words."""
    words = f"{run['workload']}, {run['trials']} x {run['epochs']} epochs"
    return words + ("" if run["prunes"] else ", no pruning") + (", cold" if run["cold"] else "")


def chart(runs: list[Run]) -> str:
    """A page that loads nothing: bars of the median seconds of each side, a figure for each workload and size."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(setting(run), []).append(run)
    figures = {str(i): bars(by_side(own)) for i, own in enumerate(groups.values())}
    places = zip(groups, figures.items(), strict=True)
    body = "".join(f"<h2>{text(group)}</h2>{place(key, figure)}" for group, (key, figure) in places)
    title = "Sweeps with packs beside Ray Tune and Optuna"
    return document(title, f"<h1>{title}</h1>", "", body, figures)


def bars(found: dict[str, list[Run]]) -> go.Figure:
    """One bar a side, the first on top, all from 0."""
    figure = blank("seconds of the whole sweep, median", "", height=110 + 34 * len(found))
    tops = [middle(runs, lambda run: run["seconds"]) for runs in found.values()]
    figure.add_trace(
        go.Bar(
            x=tops,
            y=list(found),
            orientation="h",
            marker_color=[COLORS[name[0]] for name in found],
            text=[f"{top:.1f}" for top in tops],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.1f} s<extra></extra>",
        )
    )
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    return figure
