"""What lies in a user's files, as a digest; read once, and again only when a file was touched."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from hpo.errors import UserError
from hpo.tasks.bar import Bar
from hpo.tasks.home import drop_unused, home, used
from hpo.whole_file import whole_file

Signature = tuple[tuple[str, int, int, int, int], ...]
"""Of each file: its path, size, inode, and when its content and its facts last changed, in nanoseconds."""

_CHUNK = 1 << 20
_SETTLED = 2.0  # seconds after which a change is sure to show in a file's times


def digest_of(path: Path) -> str:
    """Digest of a file's content, as `hpo.loader.digest` gives it, or of all names and contents in a folder.

    Kept in the cache folder under the files' sizes and times, so that files which nobody touched are not read again.
    Raises UserError for a file that cannot be read.
    """
    files = all_files(path) if path.is_dir() else [path]
    try:
        signature = tuple(_facts(file) for file in files)
        small = sum(size for _, size, *_ in signature) < _CHUNK  # read as quickly as looked up
        return _read(path, signature) if small else _known(path, signature)
    except OSError as error:
        raise cannot_read(error.filename or path, error) from None


def all_files(folder: Path) -> list[Path]:
    """The files of a folder and those below it, in one order on every machine; hidden ones are left out."""
    found = (Path(top) / name for top, _, names in os.walk(folder, followlinks=True) for name in names)
    own = ((file.relative_to(folder).parts, file) for file in found)
    return [file for parts, file in sorted(own) if not any(part.startswith(".") for part in parts)]


def cannot_read(path: str | Path, error: OSError) -> UserError:
    """The sentence for a file that cannot be opened."""
    return UserError(f"task.path: {path} cannot be read: {error.strerror or error}")


def _facts(file: Path) -> tuple[str, int, int, int, int]:
    stat = file.stat()
    return str(file), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=64)
def _known(path: Path, signature: Signature) -> str:
    """The digest that was kept for files with this signature, or that of what they hold, which is then kept."""
    kept = home() / "digests" / hashlib.blake2b(repr((str(path), signature)).encode(), digest_size=16).hexdigest()
    with contextlib.suppress(OSError, ValueError):
        text = kept.read_text("ascii")
        if len(text) == 16:
            used(kept)
            return text
    found = _read(path, signature)
    changed = max((one[4] for one in signature), default=0) / 1e9
    if time.time() - changed > _SETTLED:  # written again just now, it could look the same
        with contextlib.suppress(OSError, UserError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(kept, "cache") as file:
                file.write(found.encode())
            drop_unused(kept.parent)
    return found


def _read(path: Path, signature: Sequence[tuple[str, int, int, int, int]]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    with Bar(f"reading {path.name}", sum(size for _, size, *_ in signature)) as bar:
        for name, size, *_ in signature:
            if Path(name) != path:  # a folder is also what its files are called
                digest.update(f"{os.path.relpath(name, path)}\0{size}\0".encode())
            with open(name, "rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    bar(len(chunk))
    return digest.hexdigest()
