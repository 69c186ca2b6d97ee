"""Which way imports point, and how little the command line loads."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import hpo

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "ray", "optuna", "sqlalchemy", "plotly", "pandas", "sklearn", "torchmetrics", "optuna_dashboard"}


def loaded_by(code: str) -> set[str]:
    """The top-level modules in a fresh interpreter after `code`."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_imports_point_downward():
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("name", hpo.__all__)
def test_every_public_name_is_there(name):
    assert getattr(hpo, name).__module__.split(".")[0] == "hpo"
    assert name in dir(hpo)


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        importlib.import_module("hpo").lunch  # noqa: B018


def test_importing_hpo_loads_nothing_heavy():
    assert loaded_by("import hpo") & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["launch", "--help"], ["--version"], ["list", "schedules"]])
def test_the_command_line_loads_nothing_heavy_before_it_must(arguments):
    code = f"""
import sys
from hpo.cli import app
sys.argv = ["hpo", *{arguments!r}]
try:
    app()
except SystemExit as end:
    assert not end.code, end.code
"""
    assert loaded_by(code) & HEAVY == set()
