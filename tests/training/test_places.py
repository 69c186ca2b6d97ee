"""Folders of whole files: on a disk, in fsspec's memory, on a real FTP server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from hpo.errors import UserError
from hpo.training.places import LocalPlace, Place, RemotePlace, check_place, on_disk, place_at
from tests.ftp import FtpServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FtpServer]:
    with FtpServer(tmp_path / "served") as server:
        yield server


@pytest.fixture(params=["local", "memory", "ftp"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return LocalPlace(tmp_path / "a" / "b")
    if request.param == "memory":
        return RemotePlace(f"memory://{tmp_path}/b")
    server: FtpServer = request.getfixturevalue("server")
    return RemotePlace(f"{server.url}/a/b/")


def content(place: Place, name: str) -> bytes:
    with place.read(name) as stream:
        return stream.read()


def write(place: Place, name: str, data: bytes) -> None:
    place.write(name, lambda stream: stream.write(data))


def test_a_file_is_written_read_replaced_and_removed(place: Place) -> None:
    assert place.names() == []
    write(place, "1.pt", b"one")
    write(place, "2.pt", b"two" * 1000)
    write(place, "1.pt", b"another")
    assert sorted(place.names()) == ["1.pt", "2.pt"]
    assert content(place, "1.pt") == b"another"
    assert content(place, "2.pt") == b"two" * 1000
    place.remove("1.pt")
    place.remove("1.pt")
    assert place.names() == ["2.pt"]
    with pytest.raises(FileNotFoundError):
        place.read("1.pt")
    assert place.shown("2.pt").endswith("/b/2.pt")


def test_a_writer_that_fails_leaves_what_was_there_and_nothing_beside_it(place: Place) -> None:
    write(place, "1.pt", b"one")

    def half(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    with pytest.raises(OSError, match="RuntimeError: PytorchStreamWriter failed"):
        place.write("1.pt", half)
    assert content(place, "1.pt") == b"one"
    assert place.names() == ["1.pt"]


def test_a_writer_that_is_killed_leaves_the_file_before_and_one_that_is_half_written(tmp_path: Path) -> None:
    program = f"""
import os
from hpo.training.places import LocalPlace
place = LocalPlace({str(tmp_path)!r})
place.write("1.pt", lambda stream: stream.write(b"one"))
def half(stream):
    stream.write(b"half"); stream.flush(); os.kill(os.getpid(), 9)
place.write("1.pt", half)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert (tmp_path / "1.pt").read_bytes() == b"one"
    (other,) = [name for name in os.listdir(tmp_path) if name != "1.pt"]
    assert other.startswith("1.pt.")
    assert other.endswith(".new")


def test_probing_leaves_no_file_and_no_folder(tmp_path: Path) -> None:
    check_place(str(tmp_path / "new" / "deep"), "checkpoints.path")
    assert os.listdir(tmp_path) == []
    (tmp_path / "there").mkdir()
    check_place(str(tmp_path / "there"), "checkpoints.path")
    assert os.listdir(tmp_path / "there") == []
    check_place(f"file://{tmp_path}/there", "checkpoints.path")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("{folder}/file/deep", r"checkpoints.path: {folder}/file/deep cannot be written: \[Errno 20\] Not a directory"),
        ("/proc/nowhere", r"checkpoints.path: /proc/nowhere cannot be written: \[Errno 2\] No such file"),
        ("s4://bucket/x", r"checkpoints.path: no store is known for s4:// \(found s4://bucket/x\)"),
        ("dropbox://x/y", r"checkpoints.path: dropbox://x/y needs a package that is not here: .*dropbox"),
        (
            "ftp://me:secret@127.0.0.1:1/x",
            r"checkpoints.path: ftp://me:\*\*\*@127.0.0.1:1/x cannot be written: .*refused",
        ),
    ],
)
def test_a_place_that_is_none_is_one_sentence(path: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="^" + sentence.replace("{folder}", str(tmp_path))):
        check_place(path.replace("{folder}", str(tmp_path)), "checkpoints.path")


def test_a_full_disk_is_no_place() -> None:
    class Full(LocalPlace):
        """A stream that takes nothing, as every file of a full disk."""

        def write(self, name: str, fill: Callable[[BinaryIO], object]) -> None:
            with open("/dev/full", "wb") as stream:
                fill(stream)

    with pytest.raises(OSError, match="No space left"):
        Full("/nowhere").probe()


def test_a_store_that_is_gone_is_an_error_and_one_that_is_back_is_used_again(server: FtpServer) -> None:
    place = RemotePlace(f"{server.url}/a")
    write(place, "1.pt", b"one")
    server.stop()
    for act in (lambda: write(place, "1.pt", b"two"), place.names, lambda: place.remove("1.pt")):
        with pytest.raises(OSError, match=r"refused|EOF|reset"):
            act()
    server.start()
    write(place, "1.pt", b"three")
    assert content(place, "1.pt") == b"three"
    assert place.names() == ["1.pt"]


def test_a_connection_that_broke_meanwhile_is_made_anew(server: FtpServer) -> None:
    place = RemotePlace(f"{server.url}/a")
    write(place, "1.pt", b"one")
    server.stop()
    server.start()  # as after a pause longer than the store keeps a connection
    write(place, "1.pt", b"two")
    assert content(place, "1.pt") == b"two"


def test_what_goes_wrong_holds_no_password(server: FtpServer) -> None:
    place = RemotePlace(server.url.replace(server.password, "wrong-secret"))
    with pytest.raises(OSError, match="Authentication failed") as raised:
        write(place, "1.pt", b"one")
    assert "wrong-secret" not in str(raised.value)
    assert "wrong-secret" not in place.shown("1.pt")


def test_what_a_path_means() -> None:
    assert on_disk("s3://b/x") is None
    assert on_disk("simplecache::s3://b/x") is None
    assert on_disk("file:///data/x") == "/data/x"
    assert on_disk("deep/x") == "deep/x"
    for path in ("/data/x", "file:///data/x", "local:///data/x"):
        place = place_at(path)
        assert isinstance(place, LocalPlace)
        assert place.shown("f") == "/data/x/f"
    assert isinstance(place_at("s3://b/x"), RemotePlace)
