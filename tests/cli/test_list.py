"""`hpo list`: what may be named in a sweep file, for people and as JSON."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpo.cli import app
from hpo.cli.listing import REGISTRIES, registry

PLUGIN = (
    "from pydantic import Field\nfrom hpo.training.schedules import Schedule, schedules\n"
    "@schedules('tried')\nclass Tried(Schedule):\n    '''Falls at once.'''\n"
    "    depth: float = Field(gt=0, description='how far')\n"
)


def listed(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["list", *arguments])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize("kind", REGISTRIES)
def test_json_holds_every_entry_with_its_fields(kind: str) -> None:
    rows = json.loads(listed(kind, "--json"))
    assert [row["name"] for row in rows] == list(registry(kind))
    for row in rows:
        assert set(row) == {"name", "summary", "fields"}
        assert row["summary"].endswith((".", ")"))
        fields = registry(kind).get(row["name"]).model_fields
        assert [field["name"] for field in row["fields"]] == list(fields)
        for field in row["fields"]:
            assert field["description"]
            assert field["required"] == fields[field["name"]].is_required()
            assert "type" in field or "enum" in field


@pytest.mark.parametrize("kind", REGISTRIES)
def test_text_holds_the_same(kind: str) -> None:
    text = listed(kind)
    blocks = text.rstrip("\n").split("\n\n")
    rows = registry(kind).describe()
    assert len(blocks) == len(rows)
    for block, row in zip(blocks, rows, strict=True):
        name, summary, *fields = block.splitlines()
        assert (name, summary) == (row["name"], f"  {row['summary']}")
        assert [field.split()[0] for field in fields] == [field["name"] for field in row["fields"]]
        for line, field in zip(fields, row["fields"], strict=True):
            assert line.endswith(field["description"])
            assert re.search(r"  (required|default \S+) ", line)
    assert "None" not in text


def test_it_reads_well() -> None:
    lines = listed("pruners").splitlines()
    start = lines.index("patient")
    assert [re.sub(" +", " ", line) for line in lines[start : start + 5]] == [
        "patient",
        " Asks another pruner only when a trial has not improved for `patience` steps; alone, it is early stopping.",
        " wrapped text or mapping or null default null the pruner that is asked then; null: the trial is stopped",
        " patience int, >= 0 required steps without improvement",
        " min_delta float, >= 0 default 0.0 least change that counts as one",
    ]
    columns = {
        line.index("default " if "default " in line else "required") for line in lines if line.startswith("    ")
    }
    assert len(columns) == 1, "columns run through all entries"
    assert "sobol or halton" in listed("samplers")
    assert "int or auto" in listed("pruners")


def test_a_plugins_entries_are_listed(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    try:
        text = listed("schedules", "--plugin", str(tmp_path / "plugin.py"))
        assert "\n\ntried\n  Falls at once.\n" in text
        assert re.search(r"    depth +float, > 0 +required +how far\n", text)
    finally:
        importlib.import_module("hpo.training.schedules").schedules.remove("tried")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["sampler"],
            "hpo list: unknown registry 'sampler'; did you mean 'samplers'? (allowed: augmentations, initializers, ",
        ),
        (["schedules", "--plugin", "nope.py"], "--plugin: no file 'nope.py' in "),
        (["schedules", "--plugin", "words.txt"], "--plugin: 'words.txt' must be a .py file"),
    ],
)
def test_mistakes(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["list", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {sentence}")
