from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hpo.errors import UserError
from hpo.storage import open_storage, resolve
from hpo.storage.place import network_file_system, read_url


def test_a_relative_sqlite_path_hangs_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    assert resolve("sqlite:///hpo.db") == f"sqlite:///{tmp_path}/hpo.db"
    assert resolve(f"sqlite:///{tmp_path}/a/../b.db") == f"sqlite:///{tmp_path}/b.db"
    assert resolve("sqlite:///~/hpo.db") == "sqlite:////home/ada/hpo.db"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_means_psycopg_3(scheme: str) -> None:
    assert resolve(f"{scheme}://ada:pw@host:5433/db") == "postgresql+psycopg://ada:pw@host:5433/db"


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"])
def test_mysql_means_pymysql(scheme: str) -> None:
    assert resolve(f"{scheme}://ada:pw@host:3307/db") == "mysql+pymysql://ada:pw@host:3307/db"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hpo.db", "'hpo.db' is not a database URL; write sqlite:///hpo.db, postgresql"),
        ("sqlit:///hpo.db", "unknown URL scheme 'sqlit'; did you mean 'sqlite'? (allowed: mysql, postgresql, sqlite)"),
        ("redis://host/0", "unknown URL scheme 'redis'; (allowed: mysql, postgresql, sqlite)"),
        (
            "postgresql+psycopg2://host/db",
            "unknown URL scheme 'postgresql+psycopg2'; did you mean 'postgresql+psycopg'?",
        ),
        ("mysql+mysqldb://host/db", "unknown URL scheme 'mysql+mysqldb'; did you mean 'mysql+pymysql'?"),
        ("mysql://ada:hunter2@host", "mysql://ada:***@host names no database; write mysql://user@host/database"),
        ("sqlite://", "sqlite needs a file that lasts"),
        ("sqlite:///:memory:", "sqlite needs a file that lasts, found ':memory:'"),
        ("sqlite:///file:x?mode=memory&uri=true", "sqlite"),
        ("sqlite://hpo.db", "sqlite"),
        ("postgresql://ada:hunter2@host:port/db", "this postgresql URL cannot be read"),
        ("postgresql://ada:hunter2@host", "names no database"),
        ("hunter2@host", "is not a database URL"),
    ],
)
def test_a_wrong_url_is_one_sentence(url: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        open_storage(url)
    text = str(caught.value)
    assert text.startswith("storage: ")
    assert said in text
    assert "hunter2" not in text
    assert "\n" not in text


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database, it only has its name")
    for path, said in {
        tmp_path / "missing" / "hpo.db": "does not exist; make it or choose another path",
        tmp_path / "text.db": "is not an SQLite database",
        tmp_path: "is not a file",
    }.items():
        with pytest.raises(UserError, match=said):
            open_storage(f"sqlite:///{path}")
    assert sorted(os.listdir(tmp_path)) == ["text.db"]


def test_an_empty_file_is_an_empty_database(tmp_path: Path) -> None:
    file = tmp_path / "hpo.db"
    file.touch()
    with open_storage(f"sqlite:///{file}") as storage:
        assert storage.study_names() == []
        assert file.stat().st_size == 0
        storage.create_study("a", ["minimize"])
        assert storage.study_names() == ["a"]


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "hpo.db"
    file.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 4)
    with open_storage(f"sqlite:///{file}") as storage, pytest.raises(UserError, match=r"cannot use .*hpo.db"):
        storage.study_names()


def test_a_place_that_only_others_may_write(tmp_path: Path) -> None:
    """As a user without rights: root may write everywhere."""
    with open_storage(f"sqlite:///{tmp_path}/hpo.db") as storage:
        storage.create_study("all modules are loaded", ["minimize"])
    with tempfile.TemporaryDirectory() as folder, open_storage(f"sqlite:///{folder}/hpo.db") as storage:
        os.chmod(folder, 0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(UserError, match=r"hpo.db' cannot be written .*; choose a path that can"):
                storage.create_study("a", ["minimize"])
        finally:
            os.seteuid(user)
            os.chmod(folder, 0o755)
        assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("kind", "driver", "extra"), [("postgresql", "psycopg", "postgres"), ("mysql", "pymysql", "mysql")]
)
def test_without_its_driver_the_extra_is_named(kind: str, driver: str, extra: str) -> None:
    code = f"""
import sys
from importlib.abc import MetaPathFinder
class Blind(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "{driver}":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blind())
from hpo.errors import UserError
from hpo.storage import open_storage
try:
    open_storage("{kind}://ada:hunter2@host/db")
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = f"storage: {kind}://ada:***@host/db needs {driver}, which is not installed; pip install 'hpo[{extra}]'"
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_server_that_does_not_answer(kind: str) -> None:
    url = f"{kind}://ada:hunter2@127.0.0.1:1/db?password=hunter3"
    with open_storage(url) as storage:
        assert "hunter" not in storage.place
        for use in (storage.study_names, lambda: storage.optuna):
            with pytest.raises(UserError, match=rf"storage: cannot use {kind}://ada:.*refused") as caught:
                use()
            assert "hunter" not in str(caught.value)


def test_the_kind_of_file_system_is_that_of_the_nearest_mount() -> None:
    mounts = "\n".join(
        [
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw",
            "30 22 0:40 / /mnt rw shared:1 - nfs4 server:/x rw",
            "31 30 8:2 / /mnt/local\\040disk rw - xfs /dev/sdb rw",
            "32 22 0:41 / /mntx rw - cifs //server/x rw",
        ]
    )
    kinds = {
        folder: network_file_system(Path(folder), mounts) for folder in ("/a", "/mnt/b", "/mnt/local disk/c", "/mntx")
    }
    assert kinds == {"/a": None, "/mnt/b": "nfs4", "/mnt/local disk/c": None, "/mntx": "cifs"}


def test_a_place_never_prints_its_password() -> None:
    place = read_url("postgresql://ada:p%40ss@host/db?sslpassword=other")
    assert str(place) == "postgresql://ada:***@host/db?sslpassword=***"
    assert place.clean("FATAL: p@ss is wrong") == "FATAL: *** is wrong"


def test_a_raw_at_sign_in_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(UserError, match=r"must have it written as %40") as raised:
        read_url("postgresql://me:s3cr@et@host/db")
    assert "et@host" not in str(raised.value)
