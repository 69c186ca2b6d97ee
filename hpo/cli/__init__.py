"""The command line: parse, call, render. No logic lives here; what is heavy is imported when a command needs it."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import Annotated

import typer

from hpo.cli import dashboard, database, exporting, launching, listing, spaces, studies
from hpo.cli._door import Door

app = typer.Typer(
    cls=Door,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    help="Hyperparameter sweeps of PyTorch training: Optuna searches, Ray Tune schedules, SQL remembers.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from hpo import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Hyperparameter sweeps of PyTorch training: Optuna searches, Ray Tune schedules, SQL remembers."""
    del version


for command in (
    launching.check,
    launching.launch,
    launching.resume,
    studies.status,
    studies.trials,
    studies.best,
    studies.studies,
    studies.log,
    exporting.export,
    exporting.report,
    exporting.train,
    exporting.decrypt,
    dashboard.dashboard,
):
    app.command(command.__name__)(command)
app.command("list")(listing.list_)
app.add_typer(spaces.app, name="space")
app.add_typer(database.app, name="db")


def main() -> None:
    """The entry point `hpo`: leaves at once, since taking Ray's and Optuna's modules apart takes half a second."""
    try:
        app()
        code = 0
    except SystemExit as left:
        if left.code is not None and not isinstance(left.code, int):
            raise
        code = left.code or 0
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(code)
