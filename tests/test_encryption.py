"""Encrypted files: what goes in comes out, and everything else is one sentence."""

from __future__ import annotations

import base64
import io
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo.encryption import HEAD, KEY, Key, Locked, current, encrypting, opened
from hpo.errors import UserError

PIECE, TAG = 2**20, 16


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """In the environment."""
    text = new_key()
    monkeypatch.setenv(KEY, text)
    monkeypatch.delenv(f"{KEY}_FILE", raising=False)
    return text


def sealed(content: bytes, at_once: int = 1_000_003) -> bytes:
    """The file that `content` becomes when it is written in parts."""
    file = io.BytesIO()
    with encrypting(file) as stream:
        for start in range(0, len(content), at_once):
            stream.write(memoryview(content)[start : start + at_once])
    return file.getvalue()


def read(file: bytes) -> bytes:
    return opened(io.BytesIO(file), "a.pt").read()


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 17])
def test_what_was_written_is_read_whatever_its_size(size: int) -> None:
    content = os.urandom(size)
    file = sealed(content)
    assert file.startswith(b"hpo-encrypted 1\n"), "a file says what it is"
    assert read(file) == content
    assert len(file) == HEAD + size + TAG * max(1, -(-size // PIECE))
    assert size < 16 or content[:16] not in file
    assert sealed(content, 77_777)[HEAD:] != file[HEAD:], "no two files are alike"


def test_any_part_is_read(key: str) -> None:
    content = os.urandom(2 * PIECE + 1000)
    stream = opened(io.BytesIO(sealed(content)), "a.pt")
    for start, size in [(PIECE - 5, 10), (0, 3), (2 * PIECE, 1000), (17, PIECE + 40), (2 * PIECE + 990, 100)]:
        assert stream.seek(start) == start
        assert stream.read(size) == content[start : start + size]
    assert stream.seek(-4, io.SEEK_END) == len(content) - 4
    assert stream.read() == content[-4:]
    assert stream.read() == b""


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    block, path = bytes(PIECE), tmp_path / "large"
    tracemalloc.start()
    try:
        with path.open("wb") as file, encrypting(file) as stream:
            for _ in range(32):
                stream.write(block)
        with path.open("rb") as file:
            plain = opened(file, "large")
            assert sum(len(part) for part in iter(lambda: plain.read(PIECE), b"")) == 32 * PIECE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * PIECE


def test_without_a_key_nothing_is_encrypted_and_plain_files_are_read_with_one(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(b"plain") == b"plain"
    assert read(b"") == b""
    monkeypatch.delenv(KEY)
    assert sealed(b"plain") == b"plain"
    assert current() is None


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda file: file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]


def swapped(file: bytes) -> bytes:
    one, two = (file[HEAD + n * (PIECE + TAG) :][: PIECE + TAG] for n in (0, 1))
    return file[:HEAD] + two + one + file[HEAD + 2 * (PIECE + TAG) :]


@pytest.mark.parametrize(
    "alter",
    [
        flipped(HEAD - 1),
        flipped(HEAD),
        flipped(HEAD + PIECE + TAG - 1),
        flipped(HEAD + 2 * (PIECE + TAG) + 5),
        flipped(-1 + HEAD + 2 * (PIECE + TAG) + 10 + TAG),
        swapped,
        lambda file: file[:-1],
        lambda file: file[: HEAD + 2 * (PIECE + TAG)],  # whole pieces are gone
        lambda file: file[: HEAD + 2 * (PIECE + TAG) + 3],
        lambda file: file[:HEAD],
        lambda file: file[: HEAD - 1],
        lambda file: file + b"x",
        lambda file: file + file[HEAD : HEAD + PIECE + TAG],
        lambda file: file[: HEAD + PIECE + TAG] + file[HEAD + 2 * (PIECE + TAG) :],
    ],
)
def test_a_file_that_was_altered_gives_nothing_out(alter: Callable[[bytes], bytes]) -> None:
    file = sealed(os.urandom(2 * PIECE + 10))
    with pytest.raises(Locked) as caught:
        opened(io.BytesIO(alter(file)), "a.pt")
    assert str(caught.value) == "a.pt was altered or damaged after it was encrypted"


def test_another_key_a_missing_one_and_another_form_are_told_apart(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file, mine = sealed(b"content"), current()
    assert mine is not None
    with pytest.raises(Locked) as caught:
        read(file.replace(b"encrypted 1", b"encrypted 2"))
    assert str(caught.value) == "a.pt is encrypted in a form that this hpo does not know"
    monkeypatch.setenv(KEY, new_key())
    other = current()
    assert other is not None
    with pytest.raises(Locked) as caught:
        read(file)
    assert str(caught.value) == (
        f"a.pt is encrypted with another key ({mine.id.hex()}) than HPO_ENCRYPTION_KEY gives ({other.id.hex()})"
    )
    monkeypatch.delenv(KEY)
    with pytest.raises(Locked) as caught:
        read(file)
    assert str(caught.value) == (
        "a.pt is encrypted, and there is no key; set HPO_ENCRYPTION_KEY or HPO_ENCRYPTION_KEY_FILE "
        f"(the key {mine.id.hex()})"
    )


def test_a_key_lies_in_a_variable_or_a_file_in_either_base64(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sealed(b"content")
    monkeypatch.delenv(KEY)
    (tmp_path / "key").write_text(f"{key}\n")
    monkeypatch.setenv(f"{KEY}_FILE", str(tmp_path / "key"))
    assert read(file) == b"content"
    monkeypatch.setenv(KEY, key.replace("+", "-").replace("/", "_"))
    (tmp_path / "key").write_text(new_key())
    assert read(file) == b"content", "the variable goes first, as for the password"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "HPO_ENCRYPTION_KEY: should be 32 bytes in base64, found none"),
        ("correct horse battery", "HPO_ENCRYPTION_KEY: should be 32 bytes in base64, found something else"),
        ("c2hvcnQ=", "HPO_ENCRYPTION_KEY: should be 32 bytes in base64, found 5"),
        ("äöü", "HPO_ENCRYPTION_KEY: should be 32 bytes in base64, found something else"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(text: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, text)
    with pytest.raises(UserError) as caught:
        current()
    assert str(caught.value) == sentence
    assert caught.value.hint == "make one with  openssl rand -base64 32"


def test_a_file_of_a_key_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY)
    monkeypatch.setenv(f"{KEY}_FILE", "")
    with pytest.raises(UserError, match=r"^HPO_ENCRYPTION_KEY_FILE: should be 32 bytes in base64, found none$"):
        current()
    monkeypatch.setenv(f"{KEY}_FILE", str(tmp_path / "missing"))
    with pytest.raises(UserError, match=r"^HPO_ENCRYPTION_KEY_FILE names '.*missing', which cannot be read: No such"):
        current()


def test_openssl_makes_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        made = subprocess.run(["openssl", "rand", "-base64", "32"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl here")
    monkeypatch.setenv(KEY, made.stdout)
    assert current() is not None


def test_a_key_shows_nothing_of_itself(key: str) -> None:
    mine, secret = current(), base64.b64decode(key)
    assert mine is not None
    assert repr(mine) == str(mine) == f"Key({mine.id.hex()})"
    assert mine.id not in secret
    assert pickle.loads(pickle.dumps(mine)) == mine == Key(secret)


@pytest.fixture
def without_cryptography(tmp_path: Path) -> dict[str, str]:
    """An environment in which the package cannot be imported."""
    (tmp_path / "cryptography.py").write_text("raise ImportError('not here')\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}


def test_without_the_package_a_key_is_refused_and_all_else_works(
    without_cryptography: dict[str, str], tmp_path: Path
) -> None:
    program = "import io, hpo.encryption as e\nwith e.encrypting(io.BytesIO()) as stream: stream.write(b'')"
    done = subprocess.run(
        [sys.executable, "-c", program], env=without_cryptography, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "hpo.errors.UserError: HPO_ENCRYPTION_KEY: encryption needs cryptography, which is not installed; "
        "pip install 'hpo[encryption]'"
    )
    del without_cryptography[KEY]
    subprocess.run([sys.executable, "-c", program], env=without_cryptography, check=True)
