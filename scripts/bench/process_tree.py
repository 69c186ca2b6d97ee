"""What a command costs with all processes that it starts: wall seconds, CPU seconds, memory.

CPU: of all processes that were waited for, by whomever, as the kernel adds them up; orphans are handed to this process,
which waits for them. Ray's raylet tells the kernel that it does not wait for its workers, whose time then goes nowhere:
of those the last sample counts, so up to half a second of each is missed. Memory: the sum of the resident sizes, in
which pages that processes share (torch's own code, mostly) count once a process.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY = 0.5  # seconds
PATIENCE = 20.0  # seconds for what the command left behind
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


@dataclass(frozen=True)
class Cost:
    """What a command printed, and what it took. `began` is of time.time(), memory in bytes."""

    output: str
    began: float
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measured(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Cost:
    """Run it to its end, and wait for what it leaves behind. Raises SystemExit with its last words where it fails."""
    _adopt_orphans()
    waited, samples = _waited(), _Samples()
    done = threading.Event()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began, clock = time.time(), time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=cwd, env=None if env is None else dict(env))
        watching = threading.Thread(target=samples.until, args=(done,))
        watching.start()
        code = process.wait()
        seconds = time.monotonic() - clock
        reaped = _reap()
        done.set()
        watching.join()
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}:\n{texts[1][-2000:] or texts[0][-2000:]}")
    return Cost(texts[0], began, seconds, _waited() - waited + samples.unwaited(reaped), samples.peak)


class _Samples:
    """The tree of this process, itself left out, looked at twice a second."""

    def __init__(self) -> None:
        self.peak = 0
        self.lost: dict[tuple[int, float], float] = {}  # CPU seconds of those whose parent does not wait

    def until(self, done: threading.Event) -> None:
        """Look until told to stop."""
        while True:
            self._look()
            if done.wait(EVERY):
                return

    def unwaited(self, reaped: set[int]) -> float:
        """CPU seconds that nobody waited for. reaped: process ids that this process has waited for after all."""
        return math.fsum(cpu for (pid, _), cpu in self.lost.items() if pid not in reaped)

    def _look(self) -> None:
        total, ignores = 0, {}
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error, OSError):
                parent = process.ppid()
                if parent not in ignores:
                    ignores[parent] = _ignores_children(parent)
                total += process.memory_info().rss
                if ignores[parent]:
                    taken = process.cpu_times()
                    # what it has itself waited for goes where its own time goes
                    self.lost[process.pid, process.create_time()] = math.fsum(taken[:4])
        self.peak = max(self.peak, total)


def _ignores_children(pid: int) -> bool:
    """Whether a process has SIGCHLD ignored; False where nothing says so."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    mask = next((line.split()[1] for line in lines if line.startswith("SigIgn:")), "0")
    return bool(int(mask, 16) >> (signal.SIGCHLD - 1) & 1)


def _adopt_orphans() -> None:
    """Where Linux is; elsewhere orphans are missed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _waited() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap() -> set[int]:
    """Wait for all that is left of the tree; their ids. What outlives our patience is left alone, with a line."""
    found: set[int] = set()
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid:
            found.add(pid)
        else:
            time.sleep(0.05)
    print("processes that the command started go on; their CPU seconds are missing", file=sys.stderr)
    return found
