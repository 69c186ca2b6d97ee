"""Progress as the terminal shows it: a live panel on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest

from hpo.cli._show import Progress, table
from hpo.search.messages import Snapshot, TrialEnd
from hpo.search.states import State

SWEEP = """
import time
from hpo.cli._show import Progress
from tests.cli.test_show import snapshots

with Progress("digits", silent=False) as show:
    for one in snapshots():
        show(one)
        time.sleep(0.3)  # longer than the panel's refresh
"""


def snapshots() -> list[Snapshot]:
    """A sweep of three trials: one complete, one failed with a password in its reason, one pruned."""
    best = TrialEnd(0, State.COMPLETE, 0.5, None, 1.0, {})
    failed = TrialEnd(1, State.FAIL, None, "OSError: postgresql://me:s3cret@host/db [red]", 2.0, {})
    pruned = TrialEnd(2, State.PRUNED, 0.25, "pruned at step 3 by median: value 0.25", 0.5, {})
    counts = {State.COMPLETE: 1, State.PRUNED: 0, State.FAIL: 0}
    fields: dict[str, Any] = {"total": 3, "best": best, "rate": 2.0, "seconds": 30.0, "time_left": None}
    return [
        Snapshot(counts=counts, running=2, ended=(best,), over=False, **fields),
        Snapshot(counts={**counts, State.FAIL: 1}, running=1, ended=(failed,), over=False, warnings=("odd",), **fields),
        Snapshot(
            counts={State.COMPLETE: 1, State.PRUNED: 1, State.FAIL: 1}, running=0, ended=(pruned,), over=True, **fields
        ),
    ]


def draw(silent: bool) -> None:
    with Progress("digits", silent=silent) as show:
        for one in snapshots():
            show(one)


def test_elsewhere_there_is_a_line_for_each_trial(capsys: pytest.CaptureFixture[str]) -> None:
    draw(silent=False)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "trial 0 complete: 0.5 (1.0 s); 1 of 3, best 0.5 (trial 0)",
        "warning: odd",
        "trial 1 failed: OSError: postgresql://me:***@host/db [red] (2.0 s); 2 of 3, best 0.5 (trial 0)",
        "trial 2 pruned at step 3 by median: value 0.25 (0.5 s); 3 of 3, best 0.5 (trial 0)",
    ]


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    draw(silent=True)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "warning: odd\n")


def test_on_a_terminal_there_is_one_panel() -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", SWEEP], stdout=subprocess.PIPE, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        shown += part
        if not part:
            break
    os.close(master)
    assert process.communicate(timeout=30)[0] == b""
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "")
    assert "trial 1 failed: OSError: postgresql://me:***@host/db [red]\n" in text
    assert "s3cret" not in text
    # frames in their order, each drawn over the one before
    frames = [
        "digits  1 of 3 trials  best 0.5 (trial 0)",
        "1 complete, 0 pruned, 0 failed, 2 running, 2 a minute, about 1 min 0 s left",
        "digits  2 of 3 trials",
        "1 complete, 0 pruned, 1 failed, 1 running, 2 a minute, about 30 s left",
        "digits  3 of 3 trials",
        "1 complete, 1 pruned, 1 failed, 0 running, 2 a minute ",
    ]
    places = [text.find(frame) for frame in frames]
    assert -1 not in places
    assert places == sorted(places)


def test_a_table_is_as_wide_as_it_must() -> None:
    assert table(["a", "name"], [["1", "x"], ["22", ""]]) == "a   name\n1   x\n22"
    assert table(["a", "b"], []) == "a  b"
