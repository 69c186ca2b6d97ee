"""db: the database itself, beside the studies in it."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli import _options as o
from hpo.cli._show import Counted, put, put_json, say

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look after the database: its schema, copies of it."
)


@app.command()
def current(storage: o.Storage = None, as_json: o.Json = False) -> None:
    """Say which tables there are: the revisions of Optuna's and of hpo's own."""
    from hpo.storage.schemas import schemas
    from hpo.studies import choose_storage

    found = schemas(choose_storage(storage)[0])
    if as_json:
        put_json({"place": found.place, "optuna": found.optuna, "hpo": found.own, "newest": found.newest})
        return
    older = f" (this hpo works with {found.newest})" if found.own not in (None, found.newest) else ""
    put(found.place)
    put(f"optuna  {found.optuna or 'no tables yet'}")
    put(f"hpo     {found.own or 'no tables yet'}{older}")


@app.command()
def upgrade(storage: o.Storage = None) -> None:
    """Bring hpo's own tables to the newest revision; Optuna's are left alone."""
    from hpo.storage import schemas
    from hpo.studies import choose_storage

    before = schemas.upgrade(choose_storage(storage)[0])
    moved = f"already at {before.newest}" if before.own == before.newest else f"{before.own} -> {before.newest}"
    say(f"{before.place}: hpo's tables {moved if before.own else f'made, at {before.newest}'}")


@app.command()
def check(storage: o.Storage = None) -> None:
    """Compare hpo's own tables with what this version would make; exit 2 when they differ."""
    from hpo.storage import schemas
    from hpo.studies import choose_storage

    found = schemas.check(choose_storage(storage)[0])
    say(f"{found.place}: hpo's tables are as they should be, at {found.own}")


@app.command()
def copy(
    source: Annotated[str, typer.Argument(help="the database to copy from", metavar="SRC")],
    target: Annotated[str, typer.Argument(help="the database to copy to", metavar="DST")],
    study: Annotated[str | None, typer.Option(help="this study only", metavar="NAME")] = None,
    running: Annotated[bool, typer.Option("--running", help="also a study that a run holds, as it is now")] = False,
) -> None:
    """Copy studies, with every value and every row of hpo's, between SQLite, PostgreSQL and MySQL."""
    from hpo.storage.copying import copy_studies

    with Counted() as draw:
        copied = copy_studies(source, target, study, running=running, progress=draw)
    for one in copied:
        put(f"{one.name}  {one.trials} trials, {one.rows} rows")
    if not copied:
        say("no studies there")
