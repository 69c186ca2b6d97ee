"""space: look at search spaces, curated or one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import _options as o
from hpo.cli._show import number, put, put_json, say, table

if TYPE_CHECKING:
    from hpo.space import Domain, Space
    from hpo.sweep.named_spaces import NamedSpace

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at search spaces: the curated ones, and your own."
)

Which = Annotated[
    str, typer.Argument(help="a curated space, my_space.py:SPACE, or a YAML file of a sweep or a space", metavar="NAME")
]


@app.command("list")
def list_(as_json: o.Json = False) -> None:
    """List the curated spaces."""
    from hpo.sweep.named_spaces import curated

    found = list(curated())
    if as_json:
        put_json([{**_facts(named), "parameters": len(named.space.parameters())} for named in found])
        return
    rows = [[named.name, str(len(named.space.parameters())), named.summary] for named in found]
    put(table(["space", "parameters", "what it searches"], rows))
    say("\nuse one in a sweep:  space: {use: [search_spaces.mlp:SPACE]}")


@app.command()
def show(name: Which, as_json: o.Json = False) -> None:
    """Show a space as a tree: each parameter with its range, scale, default and source."""
    from hpo.sweep.named_spaces import find_space

    named = find_space(name, Path.cwd())
    if as_json:
        parameters = [
            {"path": one.path, **one.domain.raw(), "when": [dict(chain) for chain in one.when]}
            for one in named.space.describe()
        ]
        for one in parameters:  # what a choice brings stands under its own paths
            one["choices"] = list(named.space.parameters()[one["path"]].values() or ()) if "choices" in one else None
        ties = {path: tie.text for path, tie in named.space.ties.items()}
        plain = [{key: value for key, value in one.items() if value is not None} for one in parameters]
        put_json({**_facts(named), "parameters": plain, "tie": ties})
        return
    put("\n".join([f"{named.name}  {named.summary}".rstrip(), *_tree(named.space)]))
    if named.reference is not None:
        say(f"\nuse it in a sweep:  space: {{use: [{named.reference}]}}")


@app.command()
def preview(
    name: Which,
    output: Annotated[Path, typer.Option("--output", "-o", help="the HTML file to write")] = Path("curves.html"),
    samples: Annotated[int, typer.Option(help="how many schedules are drawn", min=1, max=1000)] = 50,
    seed: Annotated[int, typer.Option(help="of the draws", min=0)] = 0,
) -> None:
    """Draw sampled learning-rate schedules of a space into one HTML file that needs no network."""
    from hpo.sweep.named_spaces import find_space

    named = find_space(name, Path.cwd())
    from hpo.report.schedule_preview import write_preview

    put(str(write_preview(named.name, named.space, named.base, output, samples, seed)))


def _facts(named: NamedSpace) -> dict[str, Any]:
    return {"name": named.name, "use": named.reference, "summary": named.summary}


def _tree(space: Space) -> list[str]:
    """A line a parameter, columns as wide as they need, branches indented below the choice that opens them."""
    rows = _rows(space, 1, set())
    rows += [["  " + path, f"= {tie.text}", "", ""] for path, tie in space.ties.items()]
    return table(["parameter", "range", "default", "source"], rows).splitlines()


def _rows(space: Space, depth: int, seen: set[str]) -> list[list[str]]:
    """seen: paths that have been shown with their sources, in another branch."""
    from hpo.space import Choice

    rows: list[list[str]] = []
    for path, domain in space.items():
        tree = isinstance(domain, Choice) and any(domain.branches)
        source = "as above" if path in seen else domain.source or "-"
        seen.add(path)
        rows.append(["  " * depth + path, "one of" if tree else domain.range, _default(domain), source])
        if isinstance(domain, Choice) and tree:
            for choice, branch in zip(domain.choices, domain.branches, strict=True):
                rows.append(["  " * (depth + 1) + f"{choice}" + (":" if branch else ""), "", "", ""])
                rows += _rows(branch, depth + 2, seen)
    return rows


def _default(domain: Domain) -> str:
    value = domain.default
    if value is None:
        return "-"
    return number(value) if isinstance(value, float) else str(value)
