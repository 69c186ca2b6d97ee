"""What holds for every file of the project."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted(p for folder in ("hpo", "search_spaces", "scripts") for p in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEXT = {".md", ".py", ".toml", ".txt", ".yaml", ".yml", ".css", ".cfg", ".json", ""}
# places of those who write the project, which nobody else has; spelt so that this file does not hold them
NOT_OURS = ["/".join(["..", "shared"]), "/".join(["", "work", ""]), "plan" + ".md"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CODE + TESTS, ids=name)
def test_a_file_has_at_most_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public names without a docstring. An overriding method has it where it is declared, a test by its name."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name
        if isinstance(node, ast.ClassDef) and not node.bases:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith(("_", "test_")):
                    yield from [] if ast.get_docstring(method) else [f"{node.name}.{method.name}"]


@pytest.mark.parametrize("path", CODE, ids=name)
def test_every_public_name_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module's own"
    assert list(undocumented(tree)) == []


def test_the_docstring_test_finds_what_is_missing():
    source = 'class A:\n  "a"\n  def b(self): ...\n  def _c(self): ...\nclass D(A):\n  def b(self): ...\ndef e(): ...'
    assert list(undocumented(ast.parse(source))) == ["A.b", "D", "e"]


def test_every_folder_says_what_lives_there():
    folders = {path.parent for path in CODE if path.parent.name != "scripts" and path.parents[1].name != "scripts"}
    for folder in sorted(folders):
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert docstring.strip().endswith((".", ":")) or "\n" in docstring, folder


def test_no_file_names_a_place_that_only_its_writers_have():
    folders = ["hpo", "search_spaces", "scripts", "tests", "docs", ".ci"]
    files = [p for p in ROOT.iterdir() if p.is_file()] + [p for f in folders for p in (ROOT / f).rglob("*")]
    for path in files:
        # .git is a file in a worktree, and names where the other one lies
        if path.is_file() and path.suffix in TEXT and path.name not in {".git", ".DS_Store"}:
            text = path.read_text(encoding="utf-8")
            assert [word for word in NOT_OURS if word in text] == [], path
