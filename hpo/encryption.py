"""Files at rest that only a key opens, where the environment gives one; nothing changes where it gives none.

A file is `hpo-encrypted 1`, a line break, the key's id (8 bytes), a salt (32), and then pieces of 1 MiB, each by
AES-256-GCM with its tag (16), so that a file of any size is written and read in little memory. Its own key follows from
the key and the salt (HKDF-SHA256), which is why a nonce is no more than a piece's number and whether it is the last:
none occurs twice, and a piece that is missing, moved or cut off is found like one that was changed (STREAM, Hoang et
al. 2015, eprint.iacr.org/2015/189). Nothing of a file is given out before all of it was found untouched.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from hpo.errors import UserError
from hpo.secret import secret
from hpo.whole_file import whole_file

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = "HPO_ENCRYPTION_KEY"
"""The environment's secret: 32 bytes in base64."""
MAKE_ONE = "openssl rand -base64 32"

_FAMILY, _MAGIC = b"hpo-encrypted ", b"hpo-encrypted 1\n"
_ID, _SALT, _PIECE, _TAG = 8, 32, 2**20, 16  # bytes
HEAD = len(_MAGIC) + _ID + _SALT
"""Bytes at the start of a file that tell whether it can be opened here."""


class Locked(UserError):
    """A file is encrypted and cannot be opened: no key, another one, or the file is not as it was written."""


@dataclass(frozen=True)
class Key:
    """32 random bytes. It prints as its id, which tells keys apart and gives nothing of them away."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        """8 bytes that follow from it one way."""
        return blake2b(key=self.secret, digest_size=_ID, person=b"hpo key id").digest()

    def __repr__(self) -> str:
        return f"Key({self.id.hex()})"


class _Process:
    """What this process was told; the environment where it was told nothing."""

    told = False
    key: Key | None = None


def use(key: Key | None) -> None:
    """From now on the key of this process, whatever its environment says. Raises UserError where it cannot be used."""
    if key is not None:
        _cipher(key, b"")
    _Process.told, _Process.key = True, key


def current() -> Key | None:
    """The key that files are written with; None: they are not encrypted.

    Raises UserError for one that cannot be used: it is no key, its file cannot be read, or `cryptography` is missing.
    """
    if _Process.told:
        return _Process.key
    text = secret(KEY)
    name = KEY if KEY in os.environ else f"{KEY}_FILE"
    if text is None and name not in os.environ:
        return None
    key = _read(text or "", name)
    _cipher(key, b"")
    return key


def _read(text: str, name: str) -> Key:
    hint = f"make one with  {MAKE_ONE}"
    try:
        found = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise UserError(f"{name}: should be 32 bytes in base64, found something else", hint) from None
    if len(found) != 32:
        raise UserError(f"{name}: should be 32 bytes in base64, found {len(found) or 'none'}", hint)
    return Key(found)


def _cipher(key: Key, salt: bytes) -> AESGCM:
    """The cipher of one file."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError:
        raise UserError(
            f"{KEY}: encryption needs cryptography, which is not installed; pip install 'hpo[encryption]'"
        ) from None
    return AESGCM(HKDF(SHA256(), 32, salt, b"hpo file 1").derive(key.secret))


def _nonce(piece: int, last: bool) -> bytes:
    return piece.to_bytes(11, "big") + bytes([last])


@contextlib.contextmanager
def encrypting(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """What to write to in the place of `file`: itself without a key. Raises what `current` raises.

    A block that raises leaves half a file, which cannot be opened.
    """
    key = current()
    if key is None:
        yield file
        return
    stream = _Writer(file, key)
    yield cast(IO[bytes], stream)
    stream.finish()


class _Writer(io.RawIOBase):
    """Encrypts what is written to it. One piece is held back: only the end tells which is the last."""

    def __init__(self, file: IO[bytes], key: Key) -> None:
        salt = os.urandom(_SALT)
        self._file, self._cipher, self._head = file, _cipher(key, salt), _MAGIC + key.id + salt
        self._held, self._piece = bytearray(), 0
        file.write(self._head)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PIECE):
            part = view[start : start + _PIECE]
            room = _PIECE - len(self._held)
            self._held += part[:room]
            if len(part) > room:
                self._put(last=False)
                self._held += part[room:]
        return len(view)

    def finish(self) -> None:
        """Write the last piece."""
        self._put(last=True)

    def _put(self, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._piece, last), bytes(self._held), self._head))
        self._held.clear()
        self._piece += 1


def check_head(head: bytes, where: str) -> None:
    """Raise Locked, beginning with `where`, when a file that starts with these HEAD bytes cannot be opened here.

    A file that is not encrypted can.
    """
    if head.startswith(_FAMILY):
        _key_for(head, where)


def is_encrypted(head: bytes) -> bool:
    """Whether a file that starts so is encrypted."""
    return head.startswith(_FAMILY)


def opened(file: BinaryIO, where: str) -> BinaryIO:
    """A file's content, decrypted if it says that it is encrypted. file: seekable, at its start.

    where: names it in sentences. Raises Locked, and what `current` raises.
    """
    head = file.read(HEAD)
    if not head.startswith(_FAMILY):
        file.seek(0)
        return file
    key = _key_for(head, where)
    return io.BufferedReader(_Reader(file, _cipher(key, head[-_SALT:]), head, where))


def _key_for(head: bytes, where: str) -> Key:
    if not head.startswith(_MAGIC):
        raise Locked(f"{where} is encrypted in a form that this hpo does not know")
    if len(head) < HEAD:
        raise _altered(where)
    wanted = head[len(_MAGIC) : len(_MAGIC) + _ID].hex()
    key = current()
    if key is None:
        raise Locked(f"{where} is encrypted, and there is no key; set {KEY} or {KEY}_FILE (the key {wanted})")
    if key.id.hex() != wanted:
        raise Locked(f"{where} is encrypted with another key ({wanted}) than {KEY} gives ({key.id.hex()})")
    return key


def _altered(where: str) -> Locked:
    return Locked(f"{where} was altered or damaged after it was encrypted")


class _Reader(io.RawIOBase):
    """Decrypts the pieces that are asked for, after all were looked at once."""

    def __init__(self, file: BinaryIO, cipher: AESGCM, head: bytes, where: str) -> None:
        self._file, self._cipher, self._head, self._where = file, cipher, head, where
        body = file.seek(0, os.SEEK_END) - HEAD
        self._pieces = max(1, -(-body // (_PIECE + _TAG)))
        self._size = body - self._pieces * _TAG
        self._at, self._number, self._content = 0, -1, b""
        for number in range(self._pieces):
            self._load(number)

    def _load(self, number: int) -> bytes:
        if number != self._number:
            from cryptography.exceptions import InvalidTag

            self._file.seek(HEAD + number * (_PIECE + _TAG))
            try:
                nonce = _nonce(number, number == self._pieces - 1)
                self._content = self._cipher.decrypt(nonce, self._file.read(_PIECE + _TAG), self._head)
            except InvalidTag:
                raise _altered(self._where) from None
            self._number = number
        return self._content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._size:
            return 0
        number, start = divmod(self._at, _PIECE)
        part = self._load(number)[start : start + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)


def decrypt(path: Path, target: Path) -> None:
    """Write the content of an encrypted file to `target`.

    Raises UserError for one that is not encrypted, cannot be read or cannot be written, and what `opened` raises.
    """
    try:
        with path.open("rb") as file:
            if not is_encrypted(file.read(HEAD)):
                raise UserError(f"{path} is not encrypted")
            file.seek(0)
            with opened(file, str(path)) as plain, whole_file(target, "--output") as out:
                shutil.copyfileobj(plain, out, _PIECE)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
