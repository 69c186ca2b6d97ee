"""Where a password comes from, and that it is never printed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from hpo.errors import UserError, mask
from hpo.storage import open_storage, resolve
from hpo.storage.place import read_url
from hpo.tuning.source import SqlStudy

BARE = "postgresql://ada@host/db"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPO_STORAGE_PASSWORD", raising=False)
    monkeypatch.delenv("HPO_STORAGE_PASSWORD_FILE", raising=False)


def test_the_url_goes_first_then_the_variable_then_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(BARE) == "postgresql+psycopg://ada@host/db"
    (tmp_path / "secret").write_text("from file\n")
    monkeypatch.setenv("HPO_STORAGE_PASSWORD_FILE", str(tmp_path / "secret"))
    assert read_url(BARE).url.password == "from file"
    monkeypatch.setenv("HPO_STORAGE_PASSWORD", "from variable ")
    assert read_url(BARE).url.password == "from variable "
    assert read_url("mysql://ada@host/db").url.password == "from variable "
    assert read_url("mysql://ada:from%20url@host/db").url.password == "from url"
    assert read_url("mysql://ada:@host/db").url.password == ""


def test_a_url_without_a_user_gets_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_STORAGE_PASSWORD", "hunter2")
    assert resolve("postgresql://host/db") == "postgresql+psycopg://host/db"
    assert "hunter2" not in resolve(f"sqlite:///{tmp_path}/hpo.db")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_of_a_file_only_the_newline_at_its_end_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    (tmp_path / "secret").write_bytes(f" p@ss/ü \n{ending}".encode())
    monkeypatch.setenv("HPO_STORAGE_PASSWORD_FILE", str(tmp_path / "secret"))
    assert read_url(BARE).url.password == " p@ss/ü " + ("\n" if ending else "")


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, reason in {
        "missing": "No such file or directory",
        "": "Is a directory",
        "binary": "it is not text",
    }.items():
        monkeypatch.setenv("HPO_STORAGE_PASSWORD_FILE", str(tmp_path / name))
        with pytest.raises(UserError) as caught:
            open_storage(BARE)
        file = str(tmp_path / name)
        assert str(caught.value) == f"storage: HPO_STORAGE_PASSWORD_FILE names {file!r}, which cannot be read: {reason}"


def test_it_travels_to_the_coordinator_and_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_STORAGE_PASSWORD", "p@ss")
    with open_storage("mysql://ada@host/db?ssl_ca=/ca.pem") as storage:
        source = SqlStudy(storage.url, "a")
        place = storage.place
    monkeypatch.delenv("HPO_STORAGE_PASSWORD")
    there = pickle.loads(pickle.dumps(source))
    assert there.url == "mysql+pymysql://ada:p%40ss@host/db?ssl_ca=%2Fca.pem"
    assert place == "mysql://ada:***@host/db?ssl_ca=/ca.pem"
    found = read_url(there.url)
    assert found.clean("Access denied: p@ss") == "Access denied: ***"
    for text in (place, str(found), repr(found), repr(there), mask(there.url)):
        assert "p@ss" not in text
        assert "p%40ss" not in text


def test_drivers_own_parameters_are_masked_too() -> None:
    place = read_url("mysql://ada@host/db?passwd=hunter2&ssl_key_password=hunter3")
    assert str(place) == "mysql://ada@host/db?passwd=***&ssl_key_password=***"
    assert place.clean("hunter2 hunter3") == "*** ***"
    assert "hunter" not in mask("cannot use mysql://ada@host/db?passwd=hunter2&ssl_key_password=hunter3")
