"""What is made from a user's files is made once a machine, whoever comes at once or is killed in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.tasks import tasks
from tests.tasks.files import write_npz, write_table

ROOT = Path(__file__).parents[2]

# a task that leaves a line for each time it is really made, and waits where it is told to until there is a file `go`
SLOW = '''
import time
from collections.abc import Callable
from pathlib import Path
import numpy as np
from pydantic import Field
from hpo.tasks import Task, tasks
from hpo.tasks.from_files import FileTask

class Late:
    """An array that is not there yet."""
    def __init__(self, array, wait):
        self.array, self.wait, self.shape, self.dtype = array, wait, array.shape, array.dtype
    def __len__(self):
        return len(self.array)
    def __array__(self, dtype=None, copy=None):
        self.wait()
        return self.array

@tasks("slow")
class Slow(FileTask):
    """Counts how often it is made."""
    waits: str = Field("", description="making or writing")
    def process(self):
        folder = Path(self.path).parent
        with (folder / "made").open("a") as file:
            file.write("made\\n")
        def wait():
            while not (folder / "go").exists():
                time.sleep(0.01)
        if self.waits == "making":
            wait()
        x, y = np.arange(100_000, dtype=np.float32).reshape(100, 1000), np.resize([0, 1], 100)
        val = Late(x[:50] + 1, wait) if self.waits == "writing" else x[:50] + 1
        return Task((x, y), (val, y[:50]), notes=("slow",))
'''
MAKE = """
import resource
{before}
from hpo.tasks import tasks
import slow
task = tasks.parse({{"name": "slow", "path": "data.bin", **{options}}}).make()
print(type(task.train[0]).__name__, task.train[0].sum(dtype=int), task.val[0].sum(dtype=int), *task.notes)
"""
MADE = "4999950000 1250025000 slow"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a file of data and the task on it."""
    found = tmp_path / "data"
    found.mkdir()
    (found / "slow.py").write_text(SLOW)
    (found / "data.bin").write_bytes(b"data")
    return found


def start(folder: Path, before: str = "", **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    code = MAKE.format(options=options, before=before)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed of its task, and what it said."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip(), err


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def times_made(folder: Path) -> int:
    made = folder / "made"
    return len(made.read_text().splitlines()) if made.exists() else 0


def test_many_who_come_at_once_make_it_once(folder: Path, cache: Path) -> None:
    processes = [start(folder, waits="making") for _ in range(4)]
    wait_for(lambda: times_made(folder) > 0)
    (folder / "go").touch()
    assert {ended(one) for one in processes} == {(f"memmap {MADE}", "")}
    assert times_made(folder) == 1
    assert list((cache / "tasks").glob("*.draft")) == []


@pytest.mark.parametrize("moment", ["making", "writing"])
def test_one_who_is_killed_in_the_middle_leaves_nothing_that_is_read(folder: Path, cache: Path, moment: str) -> None:
    kept = cache / "tasks"
    process = start(folder, waits=moment)
    wait_for(lambda: times_made(folder) == 1 if moment == "making" else any(kept.glob("*.draft/train_y.npy")))
    waiting = start(folder, waits=moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: times_made(folder) == 2)  # who waited takes over ...
    assert list(kept.glob("*/facts.json")) == []
    (folder / "go").touch()
    assert ended(waiting) == (f"memmap {MADE}", "")
    assert list(kept.glob("*.draft")) == []  # ... and clears away what was left
    assert ended(start(folder, waits=moment)) == (f"memmap {MADE}", "")
    assert times_made(folder) == 2


def test_it_is_the_content_that_counts(tmp_path: Path, cache: Path) -> None:
    given = write_npz(tmp_path)
    tasks.parse({"name": "npz", **given}).make()
    first = set((cache / "tasks").iterdir())
    elsewhere = tmp_path / "elsewhere.npz"
    shutil.copy(given["path"], elsewhere)
    os.utime(elsewhere, (0, 0))
    tasks.parse({"name": "npz", "path": str(elsewhere)}).make()
    assert set((cache / "tasks").iterdir()) == first
    tasks.parse({"name": "npz", "path": str(elsewhere), "split_seed": 1}).make()
    assert len(set((cache / "tasks").iterdir()) - first) == 2  # the entry and its lock


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    given = {"name": "tabular", **write_table(tmp_path)}
    before = tasks.parse(given).make()
    file = Path(given["path"])
    text = file.read_text()
    stat = file.stat()
    file.write_text(text.replace("14.23", "99.99", 1))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # of the same size, and as old as it was
    after = tasks.parse(given).make()
    assert not all(
        np.array_equal(x, y) for (_, (x, _)), (_, (y, _)) in zip(before.splits(), after.splits(), strict=True)
    )


def test_kept_arrays_are_those_that_were_made(tmp_path: Path) -> None:
    given = {"name": "tabular", **write_table(tmp_path)}
    entry = tasks.parse(given)
    made, kept = entry.process(), [entry.make(), entry.make()]  # type: ignore[attr-defined]
    for one in kept:
        assert (one.loss, one.metrics, one.notes) == (made.loss, made.metrics, made.notes)
        for (_, (x, y)), (_, (made_x, made_y)) in zip(one.splits(), made.splits(), strict=True):
            assert isinstance(x, np.memmap)
            assert np.array_equal(x, made_x)
            assert np.array_equal(y, made_y)
            assert (x.dtype, y.dtype) == (made_x.dtype, made_y.dtype)
    kept[0].train[0][:] = 0  # is nobody's but ours
    assert np.array_equal(entry.make().train[0], made.train[0])


@pytest.mark.parametrize("file", ["facts.json", "train_x.npy", "val_y.npy"])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, cache: Path, file: str) -> None:
    entry = tasks.parse({"name": "npz", **write_npz(tmp_path)})
    good = np.array(entry.make().train[0])
    (damaged,) = (cache / "tasks").glob(f"npz-*/{file}")
    for content in (damaged.read_bytes()[:-3], b""):
        damaged.write_bytes(content)
        assert np.array_equal(entry.make().train[0], good)
        assert damaged.stat().st_size > len(content)


def test_a_cache_that_cannot_be_written_costs_the_cache_alone(folder: Path, cache: Path) -> None:
    # a limit on the size of files is what a full disk looks like
    full = start(folder, before="resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))")
    said = f"the data could not be kept in {cache / 'tasks'}, so every process makes them anew: "
    assert ended(full) == (f"ndarray {MADE}", f"{said}they could be written in part only; is the disk full?\n")
    assert [one.suffix for one in (cache / "tasks").iterdir()] == [".lock"]
    shutil.rmtree(cache)
    cache.write_text("no folder")
    out, err = ended(start(folder))
    assert out == f"ndarray {MADE}"
    assert err.count("\n") == 1
    assert "so every process makes them anew: " in err


def test_what_nobody_read_for_a_month_is_deleted(tmp_path: Path, cache: Path) -> None:
    entry = tasks.parse({"name": "npz", **write_npz(tmp_path)})
    entry.make()
    (old,) = (one for one in (cache / "tasks").iterdir() if one.is_dir())
    os.utime(old, (0, 0))
    entry.make()
    assert old.stat().st_mtime > time.time() - 60  # a reader keeps it
    os.utime(old, (0, 0))
    tasks.parse({"name": "npz", **write_npz(tmp_path), "split_seed": 1}).make()
    assert not old.exists()
