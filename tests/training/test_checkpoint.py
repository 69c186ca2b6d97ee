"""A checkpoint's file, and what one attempt at a trial leaves for the next."""

from __future__ import annotations

import base64
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.errors import UserError
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile
from hpo.training.checkpoint import TrialCheckpoints, check_opens, read_name
from hpo.training.places import LocalPlace, Place, RemotePlace


class Custom:
    """Something that only a pickle could bring back."""


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"net": {"layers": [1, Custom()]}}, r"state\['net'\]\['layers'\]\[1\] is a .*Custom, which cannot be"),
        ({"w": np.zeros(3)}, r"state\['w'\] is a numpy\.ndarray"),
        ({"w": np.float64(3)}, r"state\['w'\] is a numpy\.float64"),
        ({Custom: 1}, "a key of state is a type"),
    ],
)
def test_a_state_that_could_not_be_loaded_safely_is_refused_at_once(tmp_path: Path, state: Any, sentence: str) -> None:
    store = CheckpointFile(tmp_path / "c.pt")
    with pytest.raises(UserError, match=f"^trial.checkpoint: {sentence}"):
        Answers().trial(store).checkpoint(state)
    assert os.listdir(tmp_path) == []


def test_a_damaged_checkpoint_starts_the_trial_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "c.pt"
    store = CheckpointFile(file)
    store.save({"epoch": 1})
    file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert Answers().trial(store).resume_from is None
    assert "cannot be read, the trial starts without it" in caplog.text


def test_a_checkpoint_of_someone_else_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"step": 1, "state": {"epoch": Trap()}}, tmp_path / "c.pt")
    assert CheckpointFile(tmp_path / "c.pt").load() is None
    assert not (tmp_path / "sprung").exists()


def test_a_full_disk_costs_the_checkpoint_and_leaves_the_one_before(tmp_path: Path) -> None:
    program = f"""
import resource, logging, sys
import torch
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile
logging.basicConfig(stream=sys.stdout)
store = CheckpointFile({str(tmp_path / "c.pt")!r})
trial = Answers().trial(store, checkpoint_every=0.0)
trial.checkpoint({{"epoch": 1}})
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # as if the disk had so much room left
for epoch in (2, 3):
    trial.checkpoint({{"epoch": epoch, "w": torch.zeros(100000)}})
trial.report(1, loss=0.5)
assert store.load() == {{"epoch": 1}}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("was not written, training goes on without it") == 1, "said once, not at every save"
    assert os.listdir(tmp_path) == ["c.pt"]


def test_a_folder_that_cannot_be_made_costs_the_checkpoint_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = CheckpointFile(tmp_path / "file" / "c.pt")
    with caplog.at_level(logging.WARNING):
        Answers().trial(store).checkpoint({"epoch": 1})
    assert "was not written" in caplog.text
    assert store.trouble is not None
    assert "Not a directory" in store.trouble or "File exists" in store.trouble


def test_a_checkpoint_loads_with_torch_alone(tmp_path: Path) -> None:
    CheckpointFile(tmp_path / "c.pt").save({"net": {"w": torch.arange(3)}}, 7)
    found = torch.load(tmp_path / "c.pt", weights_only=True)
    assert found["step"] == 7
    assert torch.equal(found["state"]["net"]["w"], torch.arange(3))


@pytest.fixture(params=["local", "remote"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return LocalPlace(tmp_path / "kept") if request.param == "local" else RemotePlace(f"memory://{tmp_path}/kept")


def attempt(place: Place, number: int, which: int) -> TrialCheckpoints:
    return TrialCheckpoints(place, 7, which) if number == 7 else TrialCheckpoints(place, number, which)


def test_an_attempt_goes_on_from_the_one_before_and_then_stands_alone(place: Place) -> None:
    first, second = attempt(place, 7, 1), attempt(place, 7, 2)
    assert first.load() is None
    assert first.save({"epoch": 3}, 3)
    assert attempt(place, 17, 2).load() is None, "another trial's is nobody else's"
    assert second.load() == {"epoch": 3}
    assert second.where == first.where
    assert sorted(place.names()) == ["7.1.pt"], "until the second has saved, the first one's may be needed"
    second.save({"epoch": 4}, 4)
    assert place.names() == ["7.2.pt"]
    assert second.where == place.shown("7.2.pt")
    assert (first.saves, second.saves) == (1, 1)


def test_a_held_state_counts_once_it_is_settled(place: Place) -> None:
    attempt(place, 7, 1).save({"epoch": 3}, 3)
    second = attempt(place, 7, 2)
    second.load()
    second.save({"epoch": 4}, 3, hold=True)
    assert attempt(place, 7, 3).load() == {"epoch": 3}
    second.settle()
    assert attempt(place, 7, 3).load() == {"epoch": 4}
    assert place.names() == ["7.2.pt"]


def test_a_held_state_that_cannot_take_its_place_costs_no_older_one(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(place, 7, 1).save({"epoch": 3}, 3)
    second = attempt(place, 7, 2)
    second.load()
    second.save({"epoch": 4}, 3, hold=True)
    place.remove("7.2.pt.held.new")
    second.settle()
    assert second.trouble is not None
    assert "was not written" in caplog.text
    assert attempt(place, 7, 3).load() == {"epoch": 3}
    assert second.where == place.shown("7.1.pt")


def test_a_process_that_was_given_up_replaces_nothing_of_the_attempt_after_it(place: Place) -> None:
    stale, new = attempt(place, 7, 1), attempt(place, 7, 2)
    stale.save({"from": "stale", "epoch": 2}, 2)
    assert new.load() == {"from": "stale", "epoch": 2}
    new.save({"from": "new", "epoch": 6}, 6)
    stale.save({"from": "stale", "epoch": 3}, 3)  # it has not heard yet
    assert attempt(place, 7, 3).load() == {"from": "new", "epoch": 6}


def test_the_newest_step_is_gone_on_from_and_among_equals_the_last_attempt(place: Place) -> None:
    attempt(place, 7, 1).save({"from": 1}, 5)
    attempt(place, 7, 2).save({"from": 2}, 4)  # it never looked for the first one's
    attempt(place, 7, 10).save({"from": 10}, 4)
    assert attempt(place, 7, 11).load() == {"from": 1}
    attempt(place, 7, 2).save({"from": 2}, 5)
    attempt(place, 7, 10).save({"from": 10}, 5)
    assert attempt(place, 7, 11).load() == {"from": 10}
    assert attempt(place, 7, 2).load() == {"from": 1}, "what a later attempt left is not for an earlier one"


def test_an_attempt_that_goes_on_is_as_far_as_where_it_started(place: Place) -> None:
    attempt(place, 7, 1).save({"from": 1}, 5)
    second = attempt(place, 7, 2)
    second.load()
    second.save({"from": 2}, 0)  # before its first report
    attempt(place, 7, 1).save({"from": 1}, 4)
    assert attempt(place, 7, 3).load() == {"from": 2}


def test_a_damaged_file_leaves_the_older_one(place: Place) -> None:
    attempt(place, 7, 1).save({"from": 1}, 3)
    place.write("7.2.pt", lambda stream: stream.write(b"half"))
    third = attempt(place, 7, 3)
    assert third.load() == {"from": 1}
    assert third.save({"from": 3}, 4)
    assert place.names() == ["7.3.pt"]


def test_a_save_that_must_not_be_is_not(place: Place) -> None:
    store = TrialCheckpoints(place, 7, 1, before=lambda: False)
    assert not store.save({"epoch": 1}, 1)
    assert place.names() == []
    assert (store.saves, store.where, store.trouble) == (0, None, None)


def test_a_place_that_cannot_be_read_starts_the_trial_at_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = attempt(LocalPlace(tmp_path / "file"), 7, 2)
    with caplog.at_level(logging.WARNING):
        assert store.load() is None
    assert "cannot be listed and count as none" in caplog.text


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("17.2.pt", (17, 2)),
        ("17.2.pt.4711.new", None),
        ("17.pt", None),
        ("17.log", None),
        ("a.2.pt", None),
        ("17.2.pt.bak", None),
    ],
)
def test_only_a_checkpoints_file_has_its_name(name: str, read: tuple[int, int] | None) -> None:
    assert read_name(name) == read


# ---------------------------------------------------------------------------------------------------- encrypted


def a_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    text = a_key()
    monkeypatch.setenv("HPO_ENCRYPTION_KEY", text)
    return text


def test_a_checkpoint_is_encrypted_and_what_was_saved_comes_back(
    place: Place, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {
        "net": {"w": torch.randn(300_000), "b": torch.arange(3, dtype=torch.bfloat16)},
        "epoch": 3,
        "who": "Ada Lovelace",
    }
    attempt(place, 7, 1).save(state, 3)
    with place.read("7.1.pt") as file:
        written = file.read()
    assert written.startswith(b"hpo-encrypted 1\n")
    assert b"Ada Lovelace" not in written
    assert state["net"]["w"].numpy().tobytes()[:64] not in written
    assert not [name for name in place.names() if name != "7.1.pt"]
    found = attempt(place, 7, 2).load()
    assert found is not None
    assert torch.equal(found["net"]["w"], state["net"]["w"])
    assert torch.equal(found["net"]["b"], state["net"]["b"])
    assert (found["epoch"], found["who"]) == (3, "Ada Lovelace")


def test_a_checkpoint_from_before_there_was_a_key_is_gone_on_from(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(place, 7, 1).save({"epoch": 3}, 3)
    monkeypatch.setenv("HPO_ENCRYPTION_KEY", a_key())
    second = attempt(place, 7, 2)
    assert second.load() == {"epoch": 3}
    second.save({"epoch": 4}, 4)
    assert place.names() == ["7.2.pt"]
    assert place.start("7.2.pt", 13) == b"hpo-encrypted"


@pytest.mark.parametrize("wrong", ["another", "none", "altered"])
def test_a_checkpoint_that_cannot_be_opened_is_not_started_without(
    place: Place, key: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(place, 7, 1).save({"epoch": 3}, 3)
    with place.read("7.1.pt") as file:
        written = file.read()
    if wrong == "altered":
        place.write("7.1.pt", lambda stream: stream.write(written[:-1]))
    elif wrong == "another":
        monkeypatch.setenv("HPO_ENCRYPTION_KEY", a_key())
    else:
        monkeypatch.delenv("HPO_ENCRYPTION_KEY")
    second = attempt(place, 7, 2)
    with pytest.raises(UserError, match=rf"^{re.escape(place.shown('7.1.pt'))} (is encrypted|was altered)") as caught:
        Answers().trial(second, number=7).resume_from  # noqa: B018
    assert "\n" not in str(caught.value)
    assert key not in str(caught.value)
    assert place.names() == ["7.1.pt"]
    if wrong == "altered":
        check_opens(place, {7})  # its start is as it was
    else:
        check_opens(place, {17})
        with pytest.raises(UserError, match=r"^checkpoints: trial 7 cannot go on: .*7\.1\.pt is encrypted"):
            check_opens(place, {7, 17})
