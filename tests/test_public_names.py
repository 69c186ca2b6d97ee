"""The names that `hpo` promises: all of them load, and there are no others."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import hpo

PROMISED = {
    "Choice",
    "Float",
    "Int",
    "Sweep",
    "Task",
    "TrainingConfig",
    "export_best",
    "launch",
    "load_study",
    "lr_curve",
    "resume",
    "train",
}


def test_exactly_the_promised_names_are_public() -> None:
    assert set(hpo.__all__) == PROMISED
    assert hpo.__all__ == sorted(hpo.__all__)
    assert set(hpo._HOMES) == PROMISED
    for name in PROMISED:
        named = getattr(hpo, name)
        assert named is getattr(importlib.import_module(hpo._HOMES[name]), name)
        assert inspect.getdoc(named)


def test_a_star_import_gives_them_and_nothing_else() -> None:
    program = "before = set(dir())\nfrom hpo import *\nprint(*sorted(set(dir()) - before - {'before'}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == sorted(PROMISED)


def test_scripts_and_readme_use_only_promised_names() -> None:
    root = Path(hpo.__file__).parents[1]
    for path in [root / "README.md", *(root / "scripts").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        blocks = (
            [text]
            if path.suffix == ".py"
            else re.findall(r"^```python[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        )
        nodes = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)]
        used = {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "hpo"}
        assert used, path
        assert used <= PROMISED, path
