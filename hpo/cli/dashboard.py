"""dashboard: the stock Optuna dashboard on our storage."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli import _options as o
from hpo.cli._show import say


def dashboard(
    storage: o.Storage = None,
    port: Annotated[int, typer.Option(help="the port on 127.0.0.1", min=0, max=65535)] = 8080,
) -> None:
    """Serve the Optuna dashboard on 127.0.0.1 until Ctrl-C, its normal end (exit code 0)."""
    from hpo.dashboard import serve

    serve(storage, port, say)
