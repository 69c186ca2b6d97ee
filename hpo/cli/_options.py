"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="the study's name", metavar="NAME")]
Storage = Annotated[
    str | None, typer.Option(help="database URL; HPO_STORAGE or sqlite:///hpo.db when not given", metavar="URL")
]
Json = Annotated[bool, typer.Option("--json", help="print JSON on stdout, nothing else")]
Trials = Annotated[str | None, typer.Option(help="the study's total of trials", metavar="N")]
Time = Annotated[str | None, typer.Option(help="the study's total of time: 90s, 10m, 1h30m", metavar="TIME")]
Concurrency = Annotated[str | None, typer.Option(help="how many slots, or auto", metavar="N")]
Pack = Annotated[str | None, typer.Option(help="trials a slot trains at once: auto, off, or so many", metavar="K")]
Address = Annotated[str | None, typer.Option(help="a Ray cluster to join, as in ray://host or auto", metavar="ADDR")]
Takeover = Annotated[bool, typer.Option("--takeover", help="take the study from a living run, which then ends")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print the result only")]
SweepFile = Annotated[Path, typer.Argument(help="the sweep's YAML file", metavar="SWEEP.yaml")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="keys to set, as in base.epochs=5 space.optimizer.lr.high=0.3", metavar="KEY=VALUE"),
]
FreeOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="keys to set that are not part of what the study is, as in trial.timeout=5m failures.retries=1",
        metavar="KEY=VALUE",
    ),
]
