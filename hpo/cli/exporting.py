"""export, report, train, decrypt."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli import _options as o
from hpo.cli._show import put, put_json, say


def export(
    name: o.Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="the file to write")] = Path("best.yaml"),
    trial: Annotated[int | None, typer.Option(help="this trial instead of the best")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="train it by itself first; that number is then compared bit for bit")
    ] = False,
    storage: o.Storage = None,
) -> None:
    """Write the best configuration as a file that `hpo train` trains again."""
    from hpo.export import export_best
    from hpo.studies import kept_checkpoint, opened

    with contextlib.redirect_stdout(sys.stderr):  # what the user's own code prints is no result of ours
        exported = export_best(name, output, trial=trial, storage=storage, verify=verify, say=say)
    put(str(output))
    say(f"trial {exported.trial} of {name}, {exported.shown_value}; train it again with  hpo train {output}")
    if not exported.exact:
        number = f" --trial {trial}" if trial is not None else ""
        where = f" --storage {storage}" if storage else ""
        say(
            f"it was trained {exported.company}, compared within a tolerance; for its number by itself, bit for bit:"
            f"  hpo export {name} --verify{number} -o {output}{where}"
        )
    with opened(name, storage) as (study, _):
        checkpoint = kept_checkpoint(study, exported.trial)
    if checkpoint is not None:
        say(f"its last checkpoint: {checkpoint}")


def report(
    name: o.Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="the HTML file to write")] = Path("report.html"),
    storage: o.Storage = None,
) -> None:
    """Write one self-contained HTML page with the study's figures."""
    from hpo.report import write_report
    from hpo.studies import opened

    say("drawing the report ...")
    with opened(name, storage) as (study, place):
        write_report(study, output, metrics=place.records(name).metrics)
    put(str(output))


def train(
    file: Annotated[Path, typer.Argument(help="a file written by hpo export", metavar="BEST.yaml")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="changes, as in epochs=100; then nothing is compared", metavar="KEY=VALUE"),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="keep the weights (safetensors)")] = None,
    as_json: o.Json = False,
) -> None:
    """Train an exported configuration again and compare with the recorded number, then test it."""
    from hpo.export import train as train_exported

    with contextlib.redirect_stdout(sys.stderr):  # what the user's own code prints is no result of ours
        result = train_exported(file, overrides=overrides or (), weights=output, say=say)
    if as_json:
        put_json(result.data())
    else:
        put(result.text())
    result.check()


def decrypt(
    file: Annotated[Path, typer.Argument(help="a checkpoint, export or weights that hpo encrypted", metavar="FILE")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the file to write, readable to all who see it")],
) -> None:
    """Write an encrypted file as it was before, with the key in HPO_ENCRYPTION_KEY."""
    from hpo.encryption import decrypt as decrypt_file

    decrypt_file(file, output)
    put(str(output))
