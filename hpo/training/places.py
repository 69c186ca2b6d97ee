"""Folders of whole files, on a disk or in a store that fsspec knows: what is there is there as a whole.

Whatever goes wrong there is an OSError, in words that hold no password.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from hpo.errors import UserError, mask

R = TypeVar("R")

Fill = Callable[[BinaryIO], object]
"""Writes a file's content to a stream; may be called again after a failure."""

HALF_WRITTEN = ".new"
"""The last part of a file's name while it is being written."""

_URL = re.compile(r"[a-z][a-z0-9+.\-]*(?:::[a-z][a-z0-9+.\-]*)*://", re.IGNORECASE)
_LOCAL = re.compile(r"(?:file|local)://", re.IGNORECASE)
_BLOCK = 16 * 1024 * 1024  # bytes sent at once; small blocks are slow on ftp, S3 takes none below 5 MiB


class Place(ABC):
    """A folder. It is made at the first write."""

    @abstractmethod
    def write(self, name: str, fill: Fill) -> None:
        """Put a file there in the place of the one before. A writer that dies leaves at most a `.new` file."""

    @abstractmethod
    def move(self, name: str, new_name: str) -> None:
        """Give a file another name, in the place of one that has it."""

    @abstractmethod
    def read(self, name: str) -> BinaryIO:
        """A file's content. Raises FileNotFoundError where there is none."""

    @abstractmethod
    def start(self, name: str, size: int) -> bytes:
        """The first bytes of a file, at most `size`. Raises FileNotFoundError where there is none."""

    @abstractmethod
    def names(self) -> list[str]:
        """What lies there; nothing where there is no folder yet."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file; harmless when there is none."""

    @abstractmethod
    def shown(self, name: str = "") -> str:
        """Where the folder or a file of it lies, for people and logs."""

    @abstractmethod
    def probe(self) -> None:
        """Write a small file, read it and delete it with every folder that was made for it."""


class LocalPlace(Place):
    """A folder on a disk of this machine, or on one that several machines share."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def write(self, name: str, fill: Fill) -> None:
        """The bytes reach the disk before the file takes its name."""
        fresh = self.folder / f"{name}.{os.getpid()}{HALF_WRITTEN}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(fresh, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.folder / name)
        except Exception as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise _as_os_error(error) from error  # torch's writer reports a full disk as a RuntimeError

    def move(self, name: str, new_name: str) -> None:
        """See Place."""
        os.replace(self.folder / name, self.folder / new_name)

    def read(self, name: str) -> BinaryIO:
        """See Place."""
        return open(self.folder / name, "rb")

    def start(self, name: str, size: int) -> bytes:
        """See Place."""
        with self.read(name) as file:
            return file.read(size)

    def names(self) -> list[str]:
        """See Place."""
        try:
            return os.listdir(self.folder)
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> None:
        """See Place."""
        (self.folder / name).unlink(missing_ok=True)

    def shown(self, name: str = "") -> str:
        """See Place."""
        return str(self.folder / name)

    def probe(self) -> None:
        """See Place."""
        made = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        try:
            _write_and_read(self)
        finally:
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()


class RemotePlace(Place):
    """A folder at a URL of fsspec's (`s3://bucket/sweeps`); how to log in there is its driver's business.

    It is written under another name and moved, which no store does by halves. A connection that has broken is made
    anew once. Folders are made, buckets are not.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._open: tuple[Any, str] | None = None
        self._made = False

    def write(self, name: str, fill: Fill) -> None:
        """See Place."""
        fresh = f"{name}.{os.getpid()}{HALF_WRITTEN}"

        def put(store: Any, folder: str) -> None:
            self._make(store, folder)
            try:
                with store.open(f"{folder}/{fresh}", "wb", block_size=_BLOCK) as stream:
                    fill(stream)
                store.mv(f"{folder}/{fresh}", f"{folder}/{name}")
            except Exception:
                with contextlib.suppress(Exception):
                    store.rm_file(f"{folder}/{fresh}")
                raise

        self._do(put)

    def move(self, name: str, new_name: str) -> None:
        """See Place."""
        self._do(lambda store, folder: store.mv(f"{folder}/{name}", f"{folder}/{new_name}"))

    def read(self, name: str) -> BinaryIO:
        """See Place."""
        return io.BytesIO(self._do(lambda store, folder: store.cat_file(f"{folder}/{name}")))

    def start(self, name: str, size: int) -> bytes:
        """See Place."""
        return self._do(lambda store, folder: bytes(store.cat_file(f"{folder}/{name}", start=0, end=size)))

    def names(self) -> list[str]:
        """See Place."""

        def look(store: Any, folder: str) -> list[str]:
            store.invalidate_cache(folder)  # others write there too
            return [path.rstrip("/").rpartition("/")[2] for path in store.ls(folder, detail=False)]

        try:
            return self._do(look)
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> None:
        """See Place."""

        def delete(store: Any, folder: str) -> None:
            try:
                store.rm_file(f"{folder}/{name}")
            except Exception:
                store.invalidate_cache(folder)
                if store.exists(f"{folder}/{name}"):  # not every store says FileNotFoundError
                    raise

        self._do(delete)

    def shown(self, name: str = "") -> str:
        """See Place."""
        return mask(f"{self.url}/{name}" if name else self.url)

    def probe(self) -> None:
        """See Place; the folder stays, since a store cannot tell an empty one from none."""
        _write_and_read(self)

    def _do(self, act: Callable[[Any, str], R]) -> R:
        """`act` on the store and the folder's path in it; once more where the connection was an old one."""
        while True:
            old = self._open is not None
            try:
                if self._open is None:
                    import fsspec

                    self._open = fsspec.core.url_to_fs(self.url, skip_instance_cache=True)
                return act(*self._open)
            except FileNotFoundError:
                raise
            except Exception as error:
                self._open, self._made = None, False
                if not old:
                    raise _as_os_error(error) from error

    def _make(self, store: Any, folder: str) -> None:
        parts = folder.split("/")
        for count in range(2, len(parts) + 1) if not self._made else ():
            above = "/".join(parts[:count])
            if not store.exists(above):
                store.mkdir(above, create_parents=False)
        self._made = True


def place_at(path: str) -> Place:
    """The place that a path or URL names. Touches nothing."""
    local = on_disk(path)
    return RemotePlace(path) if local is None else LocalPlace(local)


def on_disk(path: str) -> str | None:
    """The path on a disk that `path` is or, as a `file://` URL, names; None for any other URL."""
    plain = _LOCAL.sub("", path)
    return None if _URL.match(plain) else plain


def check_place(path: str, key: str) -> None:
    """Write to a place once and leave nothing. Raises UserError, naming `key`, where that cannot be done."""
    place = place_at(path)
    if isinstance(place, RemotePlace):
        _check_driver(place, key)
    try:
        place.probe()
    except OSError as error:
        raise UserError(f"{key}: {place.shown()} cannot be written: {error}") from None


def _check_driver(place: RemotePlace, key: str) -> None:
    import fsspec

    scheme = place.url.partition("://")[0]
    for one in scheme.split("::"):
        try:
            fsspec.get_filesystem_class(one)
        except ImportError as error:
            raise UserError(f"{key}: {place.shown()} needs a package that is not here: {error}") from None
        except ValueError:
            raise UserError(f"{key}: no store is known for {one}:// (found {place.shown()})") from None


def _write_and_read(place: Place) -> None:
    name, content = f"hpo-{uuid.uuid4().hex}.try", uuid.uuid4().bytes
    try:
        place.write(name, lambda stream: stream.write(content))
        with place.read(name) as stream:
            if stream.read() != content:
                raise OSError("what was written there is read otherwise")
    finally:
        with contextlib.suppress(OSError):
            place.remove(name)


def _as_os_error(error: Exception) -> OSError:
    words = " ".join(str(error).split())
    if isinstance(error, OSError) and mask(words) == words:
        return error
    return OSError(mask(f"{type(error).__name__}: {words}"))
