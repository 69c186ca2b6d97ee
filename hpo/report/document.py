"""An HTML page with figures that needs no network: what it may run, how it draws, its frame."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from collections.abc import Mapping
from importlib import metadata, resources

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from hpo.report.look import text

# the tools are named, because plotly's own choice may hold one that would send the data away
_CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
}


def document(title: str, top: str, nav: str, body: str, figures: Mapping[str, go.Figure]) -> str:
    """The page as text. All arguments are markup; `figures` are drawn in the places that `place` made for them."""
    scripts = [get_plotlyjs(), _drawing(figures)]
    written = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{resources.files("hpo.report").joinpath("page.css").read_text(encoding="utf-8")}</style>
<script>{scripts[0]}</script>
</head>
<body>
<header>{top}</header>
{nav}
<noscript><p class="empty">The figures are drawn by JavaScript, which is switched off here.</p></noscript>
{body}
<footer>Written {written} by hpo {text(metadata.version("hpo"))}. This page is complete: it loads nothing.</footer>
<script>{scripts[1]}</script>
</body>
</html>
"""


def place(key: str, figure: go.Figure) -> str:
    """Markup for the place of a figure. Its height is known before it is drawn, so nothing jumps."""
    return f'<div class="plot" id="plot-{key}" style="height:{figure.layout.height}px"></div>'


def _drawing(figures: Mapping[str, go.Figure]) -> str:
    # plotly writes <, > and / of the data as \u escapes, so no text in it can end the script
    data = ",".join(f'"plot-{key}":{figure.to_json(engine="json")}' for key, figure in figures.items())
    return (
        f"const figures={{{data}}};"
        "for(const [id,figure] of Object.entries(figures))"
        f"Plotly.newPlot(id,figure.data,figure.layout,{json.dumps(_CONFIG)});"
    )


def _policy(scripts: list[str]) -> str:
    """Only these two scripts may run, nothing may be loaded or sent: it holds even where escaping is forgotten."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
