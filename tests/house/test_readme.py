"""The README keeps its word: its examples run, its tables name what exists."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import optuna
import pytest
import typer

from hpo.cli import app
from hpo.cli.listing import REGISTRIES
from hpo.search.pruners import pruners
from hpo.search.samplers import samplers
from hpo.sweep import Sweep
from tests.launching import check_states
from tests.readme import FILES, RUNS, TEXT

Ran = tuple[Path, dict[str, subprocess.CompletedProcess[str]]]
COMMANDS = [info.name for info in (*app.registered_commands, *app.registered_groups)]


def rows(section: str) -> list[list[str]]:
    """The cells of the table in a section."""
    text = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs_as_it_stands_and_its_number_is_reproduced(readme: Ran, name: str) -> None:
    folder, ran = readme
    done = ran[name]
    assert done.returncode == 0, done.stderr
    assert re.search(r"^reproduced: (\w+) (\S+), recorded \2$", done.stdout, re.MULTILINE), done.stdout
    assert "Traceback" not in done.stderr
    trials = optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'hpo.db'}").trials
    check_states(trials, 12)
    assert any(trial.state.name == "COMPLETE" for trial in trials)


def test_every_file_of_the_examples_is_used(readme: Ran) -> None:
    folder, _ = readme
    assert set(FILES) == {"my_train.py", "my_loop.yaml", "my_task.py", "my_task.yaml"}
    assert set(RUNS) == {"my-loop", "my-task"}
    assert (folder / "wine.safetensors").stat().st_size > 0


def test_a_plain_script_becomes_a_sweep_in_at_most_ten_lines() -> None:
    marked = [line for line in FILES["my_train.py"].splitlines() if "# hpo" in line]
    assert len(marked) <= 10
    words = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
    said = re.search(r"^(\w+) marked lines turn", TEXT, re.MULTILINE)
    assert said is not None
    assert words[said[1].lower()] == len(marked)


def test_the_table_of_keys_names_exactly_the_keys_that_exist() -> None:
    table = {row[0].strip("`"): row for row in rows("The sweep file, key by key")}
    assert set(table) | {"objectives"} == set(Sweep.model_fields)
    assert "`objectives:" in table["objective"][1] or "objectives" in table["objective"][1]
    for name, (_, _, default) in table.items():
        if default == "required" and name != "objective":
            assert Sweep.model_fields[name].is_required(), name
    for registry, key in ((samplers, "sampler"), (pruners, "pruner")):
        text = table[key][1]
        missing = [name for name in registry if f"`{name}`" not in text and f"name: {name}" not in text]
        assert missing == [], key


def test_the_table_of_commands_names_exactly_the_commands_that_exist() -> None:
    table = rows("Commands")
    named = [name for row in table for name in re.findall(r"`hpo (\w+)", row[0])]
    assert sorted(named) == sorted(str(name) for name in COMMANDS)
    for group in app.registered_groups:
        said = next(row[1] for row in table if row[0].startswith(f"`hpo {group.name}"))
        assert group.typer_instance is not None
        names = [info.name or info.callback.__name__ for info in group.typer_instance.registered_commands]
        assert [name for name in names if f"`{name}" not in said] == []
    listed = next(row[1] for row in table if row[0].startswith("`hpo list"))
    assert [name for name in REGISTRIES if name not in listed] == []


@pytest.mark.parametrize("row", rows("Commands"), ids=lambda row: row[0].split("`")[1])
def test_a_command_takes_the_options_it_is_said_to_take(row: list[str]) -> None:
    names = re.findall(r"`hpo (\w+)", row[0])
    group: Any = typer.main.get_command(app)
    known = {option for name in names for one in group.commands[name].params for option in one.opts}
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(row))) <= known


def test_python_and_yaml_blocks_can_be_read() -> None:
    blocks = re.findall(r"^```python[^\n]*\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 3
    for block in blocks:
        ast.parse(block)
