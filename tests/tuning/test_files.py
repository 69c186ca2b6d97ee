"""Where a study's files lie, and which of them go."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.training.checkpoint import TrialCheckpoints
from hpo.training.places import LocalPlace, RemotePlace
from hpo.tuning.files import TrialFiles


def test_a_studys_files_lie_beside_its_database_unless_another_place_is_named(tmp_path: Path) -> None:
    files = TrialFiles.beside(tmp_path, "my study/1", "0123456789abcdef")
    assert files.folder == f"{tmp_path}/hpo-trials/my_study_1-01234567"
    assert files.checkpoints == f"{tmp_path}/hpo-trials/my_study_1-01234567/checkpoints"
    assert files.log(3) == Path(files.folder) / "3.log"
    elsewhere = TrialFiles.beside(tmp_path, "study", "0123456789", "s3://bucket/sweeps/", 5.0, 3)
    assert elsewhere.checkpoints == "s3://bucket/sweeps/study-01234567"
    assert elsewhere.folder.startswith(str(tmp_path)), "logs stay where they are"
    assert isinstance(elsewhere.place(), RemotePlace)
    assert isinstance(TrialFiles.beside(tmp_path, "study", "01234567", "/data").place(), LocalPlace)


@pytest.fixture
def files(tmp_path: Path) -> TrialFiles:
    """Checkpoints of trials 1 (attempts 1, 2), 2, 3 (1, 3), 12; two half-written files and one of somebody else's."""
    files = TrialFiles(str(tmp_path), str(tmp_path / "kept"))
    for number, attempt in ((1, 1), (1, 2), (2, 1), (3, 1), (3, 3), (12, 1)):
        TrialCheckpoints(files.place(), number, attempt).save({}, 1)
    for name in ("2.1.pt.77.new", "9.1.pt.78.new", "notes.txt"):
        files.place().write(name, lambda stream: stream.write(b"x"))
    return files


def lying(files: TrialFiles) -> list[str]:
    return sorted(files.place().names())


def test_all_of_a_trials_go(files: TrialFiles) -> None:
    files.remove(files.place(), (1, 99))
    assert lying(files) == [
        "12.1.pt", "2.1.pt", "2.1.pt.77.new", "3.1.pt", "3.3.pt", "9.1.pt.78.new", "notes.txt",
    ]  # fmt: skip


def test_tidying_leaves_those_in_flight_and_the_last_of_those_kept(files: TrialFiles) -> None:
    files.tidy(files.place(), ended={2, 3, 4}, kept={3})
    assert lying(files) == ["1.1.pt", "1.2.pt", "12.1.pt", "3.3.pt", "notes.txt"]
    files.tidy(files.place(), ended={2, 3, 4}, kept={3})
    assert lying(files) == ["1.1.pt", "1.2.pt", "12.1.pt", "3.3.pt", "notes.txt"]


def test_clearing_leaves_nothing_of_ours(files: TrialFiles) -> None:
    files.clear()
    assert lying(files) == ["notes.txt"]


def test_what_cannot_be_deleted_now_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kept" / "5.1.pt").mkdir(parents=True)
    files = TrialFiles(str(tmp_path), str(tmp_path / "kept"))
    files.remove(files.place(), (5,))
    assert "was not deleted" in caplog.text
    nowhere = TrialFiles(str(tmp_path), "ftp://127.0.0.1:1/nobody")
    nowhere.tidy(nowhere.place(), ended={5}, kept=())
    assert "cannot be listed and count as none" in caplog.text
