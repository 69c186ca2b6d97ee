"""The bar is seen on a terminal where work takes long, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

CODE = """
import time
from hpo.tasks import bar
bar.PATIENCE = {patience}
with bar.Bar("reading wine.csv", {total}) as more:
    for _ in range(10):
        time.sleep(0.05)
        more(1)
"""


def on_terminal(code: str) -> str:
    """What a terminal is sent while the code runs."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # Linux's word for the other end being closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return seen.decode()


@pytest.mark.parametrize("total", [10, None])
def test_it_is_drawn_on_a_terminal_when_work_takes_long(total: int | None) -> None:
    seen = on_terminal(CODE.format(patience=0.1, total=total))
    assert "reading wine.csv" in seen
    assert ("100%" in seen) == (total is not None)


def test_it_is_not_drawn_for_quick_work_nor_elsewhere() -> None:
    assert on_terminal(CODE.format(patience=60, total=10)) == ""
    piped = subprocess.run(
        [sys.executable, "-c", CODE.format(patience=0.1, total=10)], capture_output=True, text=True, check=True
    )
    assert piped.stderr == ""
