"""`hpo` in this process, for commands that start nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from hpo.cli import app


@dataclass(frozen=True)
class Result:
    """What a command printed and returned."""

    code: int
    out: str
    err: str


Hpo = Callable[..., Result]


@pytest.fixture
def hpo() -> Hpo:
    """Calls `hpo ARGUMENTS`; anything but an exit is raised."""

    def call(*arguments: object) -> Result:
        done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
        return Result(done.exit_code, done.stdout, done.stderr)

    return call
