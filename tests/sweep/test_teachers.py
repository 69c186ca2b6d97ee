"""A saved teacher in a sweep: where it is looked for, and that another one makes another sweep."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import UserError
from hpo.sweep import Sweep

Build = Callable[..., Sweep]


def distilled(teacher: str, **more: Any) -> dict[str, Any]:
    return {"base": {"loss": {"name": "distillation", "teacher": teacher}, **more}}


def test_a_teacher_belongs_to_what_the_sweep_is(build: Build, tmp_path: Path) -> None:
    weights, code = tmp_path / "teacher.safetensors", tmp_path / "my_teacher.py"
    weights.write_bytes(b"first")
    code.write_text("raise SystemExit('executed')\ndef make(): ...\n")
    first = build(distilled("teacher.safetensors"))
    assert list(first.digests()) == [str(weights)]
    weights.write_bytes(b"second")
    assert Sweep.identity(build(distilled("teacher.safetensors")).stored()) != Sweep.identity(first.stored())
    assert list(build(distilled("my_teacher.py:make")).digests()) == [str(code)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (distilled("gone.safetensors"), r"^base\.loss\.teacher: no file 'gone\.safetensors' in "),
        (distilled("my_teacher.py:mak"), r"^base\.loss\.teacher: no file 'my_teacher\.py' in "),
        ({"base": {"loss": "distillation"}}, r"^base\.loss\.teacher: missing; it is required"),
        (
            {
                **distilled("here.safetensors"),
                "space": {"loss.teacher": {"choices": ["here.safetensors", "there.safetensors"]}},
            },
            r"^space\.loss\.teacher: no file 'there\.safetensors' in ",
        ),
    ],
)
def test_a_teacher_that_is_not_there_is_refused(
    build: Build, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    (tmp_path / "here.safetensors").write_bytes(b"weights")
    with pytest.raises(UserError, match=sentence):
        build(changes)


def test_a_teacher_is_looked_for_without_torch(tmp_path: Path) -> None:
    (tmp_path / "teacher.safetensors").write_bytes(b"weights")
    program = """
import sys
from hpo.training.losses import losses
from pathlib import Path
losses.parse({"name": "distillation", "teacher": "teacher.safetensors"}).placed(Path.cwd())
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
