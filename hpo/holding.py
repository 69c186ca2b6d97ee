"""Who works on a study: one driver at a time, told by a lease in SQL whose beat grows while that driver lives.

No clock of one machine is ever compared with another's: a holder is silent when its beat stood still for as long as we
watched, by our own monotonic clock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType

import psutil

from hpo import __version__
from hpo.errors import HpoError, mask
from hpo.storage import Fenced, Held, Holder, Lease, LeaseState, RunFacts, StorageLost, StudyRecords, open_storage

log = logging.getLogger("hpo.holding")

WATCHED = 10.0  # seconds of silence after which a holder is taken for dead
LOOKED_EVERY = 0.5  # seconds
RENEWED_EVERY = 2.0  # seconds between two beats
# the beat stops when the driver has not heard from its coordinator for this long; the storage's own patience is 120 s
PATIENCE = 150.0
_TICKS = os.sysconf("SC_CLK_TCK")


def this_process(address: str) -> Holder:
    """This process as one that may hold a study. address: of the Ray cluster it uses, or "local"."""
    started = process_started(os.getpid())
    return Holder(socket.gethostname(), os.getpid(), started or 0.0, datetime.now(UTC), mask(address))


def process_started(pid: int) -> float | None:
    """When a process of this machine was started; None when it is gone, or a zombie.

    In seconds since the machine's start where the system says so (Linux): since 1970 it would change with the clock.
    """
    if not Path("/proc/self/stat").exists():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
        return None
    try:
        # the name before the last bracket may hold anything
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(fields[18]) / _TICKS


def is_gone(holder: Holder) -> bool:
    """Whether the holder's process is known to be dead. Of another host's nothing is known."""
    if holder.host != socket.gethostname():
        return False
    started = process_started(holder.pid)
    # pids are given away again: only the process that started then is the same
    return started is None or abs(started - holder.process_started) > 2


def wait_until_free(
    records: StudyRecords,
    say: Callable[[str], None],
    *,
    takeover: bool = False,
    watched: float = WATCHED,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> LeaseState | None:
    """The lease of a study that may be taken: let go, its process gone, or silent for `watched` seconds.

    takeover: take it from whoever has it. The state is what `StudyRecords.take` needs, None where nobody ever had it.
    Raises Held when somebody is alive.
    """
    first = state = records.lease()
    until: float | None = None
    while state is not None and state.released is None and not takeover and not is_gone(state.holder):
        if first is None or (state.fencing, state.beat) != (first.fencing, first.beat):
            raise held(records.name, state)
        if until is None:
            until = clock() + watched
            say(f"study {records.name!r} is held by {state.holder}; watching for {watched:g} s whether it lives")
        elif clock() >= until:
            say(f"it was silent for {watched:g} s: taken for dead")
            break
        sleep(LOOKED_EVERY)
        state = records.lease()
    return state


def held(name: str, state: LeaseState) -> Held:
    """The refusal that names who works on a study."""
    return Held(f"study {name!r} is being run by {state.holder}", how_to_take(name))


def how_to_take(name: str) -> str:
    """What to do about a study that somebody works on."""
    return f"watch it: hpo status {name}; --takeover takes the study from a living run"


class Tenure:
    """A study held by this process: its lease, and a thread that shows that the process lives.

    seconds: how long this run has worked on the study. lost: why it is not ours any more, once it is not.
    """

    def __init__(self, url: str, name: str, lease: Lease) -> None:
        self._storage = open_storage(url)
        self._records = self._storage.records(name)
        self._lock = threading.Lock()
        self._heard = time.monotonic()
        self._over = threading.Event()
        self.lease = lease
        self.seconds = 0.0
        self.lost: HpoError | None = None
        self._thread = threading.Thread(target=self._keep, name="hpo-tenure", daemon=True)
        self._thread.start()

    def heard(self, seconds: float) -> None:
        """The coordinator answers, and this run has worked for `seconds`: the beat goes on."""
        self._heard, self.seconds = time.monotonic(), seconds

    def advance(self) -> Lease:
        """The lease under its next number, for a coordinator that takes the place of a dead one. Raises Fenced."""
        with self._lock:
            self._heard = time.monotonic()
            self.lease = self._records.advance(self.lease, datetime.now(UTC))
            return self.lease

    def __enter__(self) -> Tenure:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Whatever leaves the block without `release` is why the run ended."""
        words = str(error) if isinstance(error, HpoError) else kind.__name__ if kind is not None else "done"
        self.release(words.splitlines()[0] if words else "done")

    def release(self, reason: str) -> None:
        """Let the study go and note why the run ended. The first reason stays.

        Nothing happens where the study is not ours any more.
        """
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join()
        try:
            self._records.release(self.lease, reason, self.seconds, datetime.now(UTC))
        except StorageLost as error:
            log.debug("%s", error)
        finally:
            self._storage.close()

    def _keep(self) -> None:
        while not self._over.wait(RENEWED_EVERY):
            if time.monotonic() - self._heard > PATIENCE:
                continue
            try:
                with self._lock:
                    self._records.renew(self.lease, self.seconds, datetime.now(UTC))
            except Fenced as error:
                self.lost = error
                return
            except HpoError as error:  # the database may answer the next time
                log.debug("%s", error)


def facts(folder: Path) -> RunFacts:
    """The versions a run starts with, and the git commit of the sweep's folder where it is in a repository."""
    found = {"hpo": __version__, "python": platform.python_version()}
    for package in ("torch", "optuna", "ray"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return RunFacts(found, _commit(folder))


def _commit(folder: Path) -> str | None:
    command = ["git", "-C", str(folder), "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
