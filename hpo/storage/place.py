"""A storage URL: read, made absolute, checked before anything is touched, and printed without its password."""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from hpo.errors import UserError, nearest
from hpo.secret import secret
from hpo.storage.dialects import DIALECTS, SCHEMES, Dialect

EXAMPLES = "sqlite:///hpo.db, postgresql://user@host/database or mysql://user@host/database"
PASSWORD = "HPO_STORAGE_PASSWORD"
"""The environment's secret that is the password where a URL has a user and none."""
_SECRET = re.compile("password|passwd", re.IGNORECASE)
_MAGIC = b"SQLite format 3\0"
# SQLite's write-ahead log shares memory between processes, which these cannot give
_NETWORK = {
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.sshfs",
    "gpfs",
    "glusterfs",
    "lustre",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
}


@dataclass(frozen=True)
class Place:
    """Where studies are kept. `str(place)` is for printing and never holds a password; `url` is for engines."""

    url: sa.URL

    @property
    def dialect(self) -> Dialect:
        """What kind of database it is."""
        return DIALECTS[self.url.get_backend_name()]

    @property
    def file(self) -> Path | None:
        """The SQLite file, absolute; None for a server."""
        return Path(str(self.url.database)) if self.url.get_backend_name() == "sqlite" else None

    @property
    def exists(self) -> bool:
        """Whether there is anything to read; a server is assumed to be there."""
        return self.file is None or self.file.exists()

    def __str__(self) -> str:
        query = {key: "***" if _SECRET.search(key) else value for key, value in self.url.query.items()}
        shown = self.url.set(drivername=self.url.get_backend_name(), query=query)
        return shown.render_as_string(hide_password=True).replace("%2A", "*").replace("%2F", "/")

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"

    def clean(self, text: str) -> str:
        """`text` without this place's password, for messages that come from a driver."""
        secrets = [self.url.password, *(v for k, v in self.url.query.items() if _SECRET.search(k))]
        for one in secrets:
            if one:
                text = text.replace(str(one), "***")
        return text


def resolve(url: str) -> str:
    """The absolute form of a storage URL, its password included: a relative SQLite path hangs on the working directory.

    A server's URL with a user and no password gets it from the environment: HPO_STORAGE_PASSWORD, or the file that
    HPO_STORAGE_PASSWORD_FILE names, without the newline at its end. Nothing else of the disk is touched.
    Raises UserError for an unknown scheme, `:memory:`, anything that cannot be read as a URL, and a file that cannot be
    read.
    """
    return read_url(url).url.render_as_string(hide_password=False)


def read_url(url: str) -> Place:
    """The place a URL names, absolute. Raises UserError as `resolve` does."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise UserError(f"storage: {_cut(url)!r} is not a database URL; write {EXAMPLES}")
    if scheme not in SCHEMES:
        near = nearest(scheme, SCHEMES)
        question = f"; did you mean {near!r}?" if near else ";"
        allowed = ", ".join(sorted(DIALECTS))
        raise UserError(f"storage: unknown URL scheme {scheme!r}{question} (allowed: {allowed})")
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise UserError(f"storage: this {scheme} URL cannot be read; write {EXAMPLES}") from None
    parsed = parsed.set(drivername=SCHEMES[scheme].driver)
    return _server(parsed) if SCHEMES[scheme].module else _sqlite(parsed)


def _sqlite(url: sa.URL) -> Place:
    path = url.database or ""
    if path in {"", ":memory:"} or path.startswith("file:"):
        raise UserError(f"storage: sqlite needs a file that lasts, found {path!r}; write sqlite:///hpo.db")
    if url.host or url.query:
        raise UserError(f"storage: sqlite takes only a path, found {str(url)!r}; write sqlite:///hpo.db")
    return Place(url.set(database=os.path.abspath(os.path.expanduser(path))))


def _server(url: sa.URL) -> Place:
    if "@" in (url.host or ""):
        raise UserError("storage: a password that holds @ must have it written as %40")
    if not url.database:
        raise UserError(f"storage: {Place(url)} names no database; write {url.get_backend_name()}://user@host/database")
    if url.username and url.password is None:
        url = url.set(password=secret(PASSWORD, "storage"))
    return Place(url)


def check_place(place: Place) -> None:
    """What can be known without connecting: the driver, the folder, the kind of file. Creates nothing.

    Raises UserError for a missing driver, a folder that is missing, not a folder or on a network file system, and a
    file that is no SQLite database.
    """
    if place.file is not None:
        _check_file(place.file)
        return
    dialect = place.dialect
    try:
        importlib.import_module(str(dialect.module))
    except ImportError:  # also where its C library is missing
        raise UserError(
            f"storage: {place} needs {dialect.module}, which is not installed; pip install 'hpo[{dialect.extra}]'"
        ) from None


def _check_file(file: Path) -> None:
    folder = file.parent
    if not folder.is_dir():
        raise UserError(f"storage: the folder {str(folder)!r} does not exist; make it or choose another path")
    kind = network_file_system(folder)
    if kind:
        raise UserError(
            f"storage: {str(file)!r} lies on a network file system ({kind}), where SQLite loses data; "
            "use a local path or postgresql://user@host/database"
        )
    if not file.exists():
        return
    if not file.is_file():
        raise UserError(f"storage: {str(file)!r} is not a file; write sqlite:///hpo.db")
    try:
        with file.open("rb") as opened:
            head = opened.read(len(_MAGIC))
    except OSError as error:
        raise UserError(f"storage: {str(file)!r} cannot be read: {error.strerror}") from None
    if head and head != _MAGIC:
        raise UserError(f"storage: {str(file)!r} is not an SQLite database; choose another path")


def network_file_system(folder: Path, mounts: str | None = None) -> str | None:
    """The type of the network file system `folder` lies on, None for a local one or where it cannot be told.

    mounts: the text of /proc/self/mountinfo, read when None.
    """
    try:
        lines = (Path("/proc/self/mountinfo").read_text() if mounts is None else mounts).splitlines()
    except OSError:
        return None
    real = os.path.realpath(folder)
    best, found = "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        point, kind = left.split(" ")[4].replace("\\040", " "), right.split(" ")[0]
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount on the same point covers the earlier one
            best, found = point, kind
    return found if found in _NETWORK else None


def _cut(text: str) -> str:
    """The start of what a user wrote, never a part that may hold a password."""
    head = text.split("@")[-1]
    return head if len(head) <= 80 else head[:77] + "..."
