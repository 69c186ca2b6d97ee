"""Links of the documentation lead somewhere, and the recipes of CONTRIBUTING.md work as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RECIPES = dict(
    re.findall(r"^## ([^\n]+)\n\n```bash\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


def test_decisions_are_numbered_without_a_gap():
    numbers = [int(path.name[:3]) for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 6


def test_the_recipes_are_short_and_all_there():
    assert set(RECIPES) >= {
        "Run the tests",
        "Add a schedule",
        "Add an initializer",
        "Add a sampler",
        "Add a task",
    }
    assert {title: n for title, text in RECIPES.items() if (n := len(text.strip().splitlines())) > 12} == {}


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works_as_it_stands(title, tmp_path):
    ignore = shutil.ignore_patterns("__pycache__", "house", ".*cache")
    for part in ("hpo", "search_spaces", "scripts", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignore)
    for part in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / part, tmp_path)
    tools = Path(sys.executable).parent
    # the copy's hpo comes before the installed one
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", RECIPES[title]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"\d+ passed", done.stdout)


def test_generated_documentation_is_what_the_code_says():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_drift_of_generated_documentation_is_refused(tmp_path):
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "docs").mkdir()
    script, schema = tmp_path / "scripts" / "docs", tmp_path / "docs" / "sweep.schema.json"

    def run(*arguments):
        return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)

    missing = run("--check")
    assert missing.returncode == 1
    assert str(schema) in missing.stderr
    assert not schema.exists()
    assert run().returncode == 0
    assert schema.read_text() == (ROOT / "docs" / "sweep.schema.json").read_text()
    schema.write_text(schema.read_text().replace("maximize", "maximise"))
    assert run("--check").returncode == 1
