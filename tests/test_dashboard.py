"""The stock dashboard on our storage: what it serves, to whom, how it ends, and that it holds up no writer."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from hpo.storage import open_storage
from tests.launching import Launcher


@pytest.fixture
def study(tmp_path: Path) -> str:
    """The URL of a database with one study of 20 trials."""
    url = f"sqlite:///{tmp_path / 'hpo.db'}"
    with open_storage(url) as storage:
        storage.create_study("watched", ["maximize"], {})
        loaded = optuna.load_study(study_name="watched", storage=storage.optuna)
        loaded.add_trials([optuna.trial.create_trial(value=float(n)) for n in range(20)])
    return url


@pytest.fixture
def served(launcher: Launcher, study: str) -> tuple[Any, str]:
    """A running `hpo dashboard --port 0` and its address."""
    process = launcher.start("dashboard", "--port", "0")
    assert process.stderr is not None
    found = re.search(r"at (http://127\.0\.0\.1:\d+)/dashboard \(Ctrl-C ends it\)", process.stderr.readline())
    assert found is not None
    return process, found[1]


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=20) as answer:
        content: bytes = answer.read()
    return content


def test_pages_and_data_are_served_on_this_machine_only_until_ctrl_c(served: tuple[Any, str]) -> None:
    process, address = served
    assert b"Optuna Dashboard" in get(f"{address}/dashboard")
    (found,) = json.loads(get(f"{address}/api/studies"))["study_summaries"]
    assert found["study_name"] == "watched"

    listening = [one.laddr.ip for one in psutil.Process(process.pid).net_connections() if one.status == "LISTEN"]
    assert listening == ["127.0.0.1"]

    # browsers open connections that say nothing; nobody waits for them
    port = int(address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)):
        assert get(f"{address}/api/studies")

    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert err == "dashboard stopped\n"


def test_a_running_writer_is_not_held_up(served: tuple[Any, str], study: str) -> None:
    _, address = served
    study_id = json.loads(get(f"{address}/api/studies"))["study_summaries"][0]["study_id"]
    stop, reads, slowest = threading.Event(), [0], 0.0

    def read() -> None:
        while not stop.is_set():
            get(f"{address}/api/studies/{study_id}")
            reads[0] += 1

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        with open_storage(study) as storage:
            loaded = optuna.load_study(study_name="watched", storage=storage.optuna)
            until = time.monotonic() + 4
            while time.monotonic() < until or reads[0] < 5:
                before = time.monotonic()
                loaded.tell(loaded.ask(), 1.0)
                storage.flush()
                slowest = max(slowest, time.monotonic() - before)
            written = len(loaded.trials)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert slowest < 2, "SQLite's busy timeout is far longer"
    seen = json.loads(get(f"{address}/api/studies/{study_id}"))["trials"]
    assert 20 < len(seen) <= written


def test_a_taken_port_is_one_sentence(launcher: Launcher, study: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = launcher.run("dashboard", "--port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    lines = [f"error: --port: {port} cannot be used: Address already in use", "", "hint: --port 0 takes a free one"]
    assert done.stderr.splitlines() == lines
