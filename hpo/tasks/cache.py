"""Tasks that were made from files, kept as arrays that every process of this machine maps into its memory.

One folder an entry: an `.npy` file an array, and `facts.json`, which says what they are. It is written under another
name and moved into place whole, by one process while the others wait: what was killed in the middle is never read. A
folder that cannot be written costs the cache and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hpo.tasks.bar import Bar
from hpo.tasks.home import drop_unused, home, used
from hpo.tasks.task import Task

log = logging.getLogger("hpo.tasks")

FACTS = "facts.json"


def kept(key: str, make: Callable[[], Task]) -> Task:
    """The task kept under `key`, or what `make` gives, which is then kept. Its arrays must not be written to.

    Whoever comes while another process makes the same waits for it. Raises what `make` raises.
    """
    folder = home() / "tasks" / key
    found = _read(folder)
    if found is not None:
        return found
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_alone(folder))
        except OSError as error:
            _say(folder, error)
            return make()
        found = _read(folder)
        if found is not None:
            return found
        task = make()
        try:
            _write(task, folder)
        except OSError as error:
            _say(folder, error)
            return task
    return _read(folder) or task


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The right to make one entry, which ends with this process however it ends."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder.with_suffix(".lock"), "w") as lock:
        with Bar("waiting for a process that makes the same data"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        for draft in folder.parent.glob(f"{folder.name}.*.draft"):  # of a process that was killed
            shutil.rmtree(draft, ignore_errors=True)
        yield


def _write(task: Task, folder: Path) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".draft", dir=folder.parent))
    try:
        for name, split in task.splits():
            for part, values in zip("xy", split, strict=True):
                np.save(draft / f"{name}_{part}.npy", values, allow_pickle=False)
        facts = {
            "splits": [name for name, _ in task.splits()],
            "model": task.model,
            "loss": task.loss,
            "metrics": list(task.metrics),
            "notes": list(task.notes),
        }
        (draft / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # what could not be read
        os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    drop_unused(folder.parent)


def _read(folder: Path) -> Task | None:
    """The task in `folder`; None where there is none, or none that is whole."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        splits = {name: (_array(folder, f"{name}_x"), _array(folder, f"{name}_y")) for name in facts.pop("splits")}
        facts |= {name: tuple(facts[name]) for name in ("metrics", "notes")}
        task = Task(**{**splits, **facts})
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        return None
    used(folder)
    return task


def _array(folder: Path, name: str) -> np.ndarray[Any, Any]:
    # pages are shared by all processes until one writes, which changes its own copy only
    return np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)  # type: ignore[no-any-return]


def _say(folder: Path, error: OSError) -> None:
    log.warning(
        "the data could not be kept in %s, so every process makes them anew: %s",
        folder.parent,
        error.strerror or "they could be written in part only; is the disk full?",  # NumPy's error says no more
    )
