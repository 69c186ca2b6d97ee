"""No process of a dead run goes on training: a slot's process leaves when its raylet does.

Ray does this by itself where a dead raylet vanishes. In containers whose first process does not reap, it stays as a
zombie, and its workers would live on.
"""

from __future__ import annotations

import os
import threading
import time

import psutil

CHECKED_EVERY = 1.0  # seconds


def leave_with_raylet() -> None:
    """Watch this worker's parent from a daemon thread; exit at once when it is gone. Starts one thread at most."""
    if any(thread.name == "hpo-guard" for thread in threading.enumerate()):
        return
    parent = psutil.Process(os.getppid())
    threading.Thread(target=_watch, args=(parent,), name="hpo-guard", daemon=True).start()


def _watch(parent: psutil.Process) -> None:
    while True:
        time.sleep(CHECKED_EVERY)
        try:
            gone = os.getppid() != parent.pid or parent.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            gone = True
        if gone:
            os._exit(1)
