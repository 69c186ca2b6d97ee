"""`FileTask`: what tasks on a user's own files have in common."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from hpo.errors import NotFound, nearest
from hpo.tasks.cache import kept
from hpo.tasks.content import digest_of
from hpo.tasks.registries import TaskEntry
from hpo.tasks.task import Task

if TYPE_CHECKING:
    from typing import Self

_LIBRARIES = ("numpy", "pandas", "pillow", "pyarrow", "scikit-learn")


class FileTask(TaskEntry):
    """A task on files at `path`, whose processed arrays are kept on each machine (`hpo.tasks.cache`).

    What is kept hangs on what lies in the files, on the options, on this code and on the libraries it calls; where the
    files lie is no part of it. `process` must say nothing that hangs on anything else, in its notes neither.
    """

    path: str = Field(min_length=1, description="where the data lie; a relative path hangs on the sweep file's folder")

    def placed(self, folder: Path) -> Self:
        written = Path(self.path).expanduser()
        path = Path(os.path.abspath(folder / written))
        if not folder.is_dir():  # a node without it, to which Ray brought a copy
            copy = Path.cwd() / os.path.relpath(path, folder)
            path = copy if copy.exists() else path
        if not path.exists():
            raise _no_path(path)
        return self.model_copy(update={"path": str(path)})

    def files(self) -> tuple[Path, ...]:
        return (Path(self.path),)

    def make(self) -> Task:
        """The processed data, read from the cache where they are kept."""
        placed = self.placed(Path.cwd())
        options = placed.model_dump(mode="json", exclude={"path"})
        facts = [options, [digest_of(path) for path in placed.files()], list(_code(type(self)))]
        key = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
        return kept(f"{self.name}-{key}", placed.process)

    def process(self) -> Task:
        """The task from the files themselves. Raises UserError in one sentence for what they do not allow."""
        raise NotImplementedError


def _no_path(path: Path) -> NotFound:
    beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest(path.name, beside)
    question = f"; did you mean {near!r}?" if near else ""
    return NotFound(f"task.path: no file or folder {path.name!r} in {path.parent}{question}")


@cache
def _code(entry: type[FileTask]) -> tuple[str, ...]:
    """What the processing rests on besides data and options: the entry's file, the modules here, the libraries."""
    files = {Path(inspect.getfile(entry)), *Path(__file__).parent.glob("*.py")}
    sources = [hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest() for file in sorted(files)]
    return (*sources, *_versions())


def _versions() -> Iterator[str]:
    for library in _LIBRARIES:
        try:
            yield f"{library} {version(library)}"
        except PackageNotFoundError:
            yield f"no {library}"
