"""Files in IDX format, as MNIST and those like it come in (http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from hpo.errors import NotFound, UserError
from hpo.tasks.content import cannot_read


def find_idx(folder: Path, name: str) -> Path:
    """The file called `name`, such as `train-images-idx3-ubyte`, in `folder`, plain or `.gz`.

    Raises NotFound, naming the file.
    """
    for candidate in (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise NotFound(f"task.path: no file {name} or {name}.gz in {folder}")


def read_idx(path: Path, dimensions: int) -> np.ndarray[Any, Any]:
    """The bytes of an IDX file as uint8 with so many dimensions. Raises UserError for any other file, or half a one."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise UserError(f"task.path: {path.name} is cut off, or no whole gzip file; get it anew") from None
    except OSError as error:
        raise cannot_read(path, error) from None
    head = 4 + 4 * dimensions
    # two zeros, 8 for unsigned bytes, the number of dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < head:
        raise UserError(f"task.path: {path.name} is no IDX file of bytes in {dimensions} dimensions")
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, head, 4)]
    if len(content) != head + prod(shape):
        raise UserError(
            f"task.path: {path.name} has {len(content):,} bytes, its head promises {head + prod(shape):,}; get it anew"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
