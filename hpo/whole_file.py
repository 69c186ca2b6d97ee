"""Files that are whole or not there: a reader, or a kill, never meets half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hpo.errors import UserError


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], key: str) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` in one move when the block ends, and vanishes if it raises.

    key: what names the path in the sentence: `--output`. Raises UserError when `path` cannot be written.
    """
    target = Path(path).absolute()
    try:
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise _cannot(target, key, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(draft, 0o666 & ~umask)
        os.replace(draft, target)
    except OSError as error:
        raise _cannot(target, key, error) from error
    finally:
        Path(draft).unlink(missing_ok=True)


def _cannot(target: Path, key: str, error: OSError) -> UserError:
    return UserError(f"{key}: {target} cannot be written: {error.strerror}")
