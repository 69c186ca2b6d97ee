"""Sweep files that are wrong: each ends in one sentence and exit 2, makes no database and executes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpo.cli import app
from tests.sweep.wrong_files import CASES, FILES, space, sweep


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(folder: Path, content: bytes) -> str:
    """The sentence that both commands end in, after checking all that must not have happened."""
    (folder / "sweep.yaml").write_bytes(content)
    before = sorted(folder.rglob("*"))
    said = set()
    for command in ("check", "launch"):
        result = CliRunner().invoke(app, [command, "sweep.yaml"])
        assert result.exit_code == 2, (command, result.output, result.exception)
        assert result.stdout == ""
        sentence, _, hint = result.stderr.partition("\n\nhint: ")
        assert hint.count("\n") <= 1
        said.add(sentence.strip())
    assert sorted(folder.rglob("*")) == before, "something was written or executed"
    (only,) = said
    assert only.startswith("error: ")
    assert "\n" not in only
    return only.removeprefix("error: ")


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_ends_in_one_sentence_and_nothing_else(case: str, folder: Path) -> None:
    text, sentence = CASES[case]
    assert refused(folder, text.encode()).startswith(sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name: café\n".encode("latin-1"), "sweep.yaml must be UTF-8 text, found byte 0xe9 at position 9"),
        ("name: a\n".encode("utf-16-le"), "sweep.yaml, line 1: special characters are not allowed"),
        (b"name: a\x00b\n", "sweep.yaml, line 1: special characters are not allowed, found character U+0000"),
    ],
)
def test_bytes_that_are_no_text(content: bytes, sentence: str, folder: Path) -> None:
    assert refused(folder, content).startswith(sentence)


def test_the_table_itself_starts_from_a_sweep_that_is_right(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(sweep())
    result = CliRunner().invoke(app, ["check", "sweep.yaml"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nope.yaml", "no file 'nope.yaml' in {folder}"), (".", ". is a folder; a YAML file is needed")],
)
def test_a_file_that_is_none(name: str, sentence: str, folder: Path) -> None:
    result = CliRunner().invoke(app, ["check", name])
    assert (result.exit_code, result.stderr) == (2, f"error: {sentence.format(folder=folder)}\n")


@pytest.mark.parametrize("code", ["1 / 0", "import sys; sys.exit(3)", "from nowhere import nothing"])
def test_user_code_that_cannot_be_imported(code: str, folder: Path) -> None:
    (folder / "plugin.py").write_text(code)
    (folder / "sweep.yaml").write_text(sweep("plugins: [plugin.py]"))
    result = CliRunner().invoke(app, ["check", "sweep.yaml"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: plugins: importing {folder / 'plugin.py'} failed: ")
    assert result.stderr.count("\n") == 1


def test_a_space_that_is_something_else(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(space("{use: [marks.py:SPACE]}"))
    result = CliRunner().invoke(app, ["check", "sweep.yaml"])
    assert result.exit_code == 2
    assert result.stderr == f"error: space.use: {folder / 'marks.py'}:SPACE must be an hpo.space.Space, found int\n"


@pytest.mark.parametrize("command", ["check", "launch"])
def test_the_real_command_says_the_same(command: str, folder: Path) -> None:
    (folder / "sweep.yaml").write_text(sweep("sampler: tpee", task="train: marks.py:train"))
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "hpo", command, "sweep.yaml"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: sampler: unknown sampler 'tpee'; did you mean 'tpe'? (allowed: ")
    assert done.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
