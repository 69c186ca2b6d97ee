"""The trial's handle and its checkpoint file."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.errors import UserError
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, Diverged, Stopped, Trial, Verdict


def test_a_report_is_delivered_as_floats() -> None:
    answers = Answers()
    trial = answers.trial()
    trial.report(0, loss=torch.tensor(0.5), accuracy=np.float32(0.25), count=3)
    assert answers.seen[0].step == 0
    assert answers.seen[0].metrics == {"loss": 0.5, "accuracy": 0.25, "count": 3.0}
    assert all(type(value) is float for value in answers.seen[0].metrics.values())
    assert trial.verdict is Verdict.GO_ON


@pytest.mark.parametrize("verdict", [Verdict.PRUNED, Verdict.PUT_BACK, Verdict.REFUSED])
def test_report_raises_when_training_must_end_and_goes_on_raising(verdict: Verdict) -> None:
    answers = Answers({2: verdict})
    trial = answers.trial()
    trial.report(1, loss=1.0)
    for step in (2, 3):  # a loop that swallows the first is stopped by the second
        with pytest.raises(Stopped) as raised:
            trial.report(step, loss=1.0)
        assert raised.value.verdict is verdict
    assert trial.verdict is verdict
    assert len(answers.seen) == 2, "nothing is delivered after the answer"
    assert pickle.loads(pickle.dumps(raised.value)).verdict is verdict


def test_go_on_answers_without_raising() -> None:
    trial = Answers({2: Verdict.PRUNED}).trial()
    assert trial.go_on(1, {"loss": 1.0})
    assert not trial.go_on(2, {"loss": 1.0})
    assert trial.verdict is Verdict.PRUNED


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), torch.tensor(float("nan"))])
def test_nan_and_infinity_are_divergence(value: Any) -> None:
    answers = Answers()
    with pytest.raises(Diverged, match=r"diverged: val_loss is .* at step 4") as raised:
        answers.trial().report(4, accuracy=1.0, val_loss=value)
    assert (raised.value.step, raised.value.name) == (4, "val_loss")
    assert not answers.seen
    again = pickle.loads(pickle.dumps(raised.value))
    assert str(again) == str(raised.value)
    assert again.step == 4


@pytest.mark.parametrize(
    ("step", "metrics", "sentence"),
    [
        (1, {}, "no metric given"),
        (1.5, {"loss": 1.0}, r"the step must be a whole number from 0, found 1\.5"),
        (-1, {"loss": 1.0}, "the step must be a whole number from 0, found -1"),
        (True, {"loss": 1.0}, "the step must be a whole number"),
        (1, {"loss": "low"}, "loss must be one number, found str"),
        (1, {"loss": torch.zeros(2)}, "loss must be one number, found Tensor"),
        (1, {"loss": None}, "loss must be one number, found NoneType"),
    ],
)
def test_a_malformed_report_is_one_sentence(step: Any, metrics: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^trial.report: {sentence}"):
        Answers().trial().report(step, **metrics)


def test_steps_must_grow() -> None:
    trial = Answers().trial()
    trial.report(3, loss=1.0)
    with pytest.raises(UserError, match=r"^trial\.report: steps must grow, found 3 after 3"):
        trial.report(3, loss=1.0)


def test_a_checkpoint_is_what_the_next_attempt_resumes_from(tmp_path: Path) -> None:
    store = CheckpointFile(tmp_path / "deep" / "trial-3.pt")
    first = Answers().trial(store)
    assert first.resume_from is None
    state = {"net": {"w": torch.arange(3.0)}, "epoch": 3, "note": "text", "history": [{"loss": 0.5}], "none": None}
    first.checkpoint(state)
    first.checkpoint({**state, "epoch": 4})
    resumed = Answers().trial(store).resume_from
    assert resumed is not None
    assert resumed["epoch"] == 4
    assert torch.equal(resumed["net"]["w"], torch.arange(3.0))
    assert os.listdir(store.path.parent) == ["trial-3.pt"], "nothing is left beside it"
    store.remove()
    store.remove()
    assert Answers().trial(store).resume_from is None


def test_a_trial_without_a_place_keeps_nothing() -> None:
    trial = Answers().trial()
    trial.checkpoint({"epoch": 1})
    assert trial.resume_from is None
    assert not trial.checkpoint_due


def test_a_checkpoint_is_due_when_its_time_has_passed(tmp_path: Path) -> None:
    now = [100.0]
    trial = Trial(0, 0, Answers(), CheckpointFile(tmp_path / "c.pt"), 10.0, clock=lambda: now[0])
    assert not trial.checkpoint_due
    now[0] = 110.0
    assert trial.checkpoint_due
    trial.checkpoint({"epoch": 1})
    assert not trial.checkpoint_due
    now[0] = 119.9
    assert not trial.checkpoint_due
    now[0] = 120.0
    assert trial.checkpoint_due


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
    assert not store.path.exists()


def test_a_damaged_checkpoint_starts_the_trial_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CheckpointFile(tmp_path / "c.pt")
    store.save({"epoch": 1})
    store.path.write_bytes(store.path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert Answers().trial(store).resume_from is None
    assert "cannot be read, the trial starts at its beginning" in caplog.text


def test_a_checkpoint_of_someone_else_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    store = CheckpointFile(tmp_path / "c.pt")
    torch.save({"epoch": Trap()}, store.path)
    assert store.load() is None
    assert not (tmp_path / "sprung").exists()


def test_a_full_disk_costs_the_checkpoint_and_leaves_the_one_before(tmp_path: Path) -> None:
    program = f"""
import resource, logging, sys
import torch
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile
logging.basicConfig(stream=sys.stdout)
store = CheckpointFile({str(tmp_path / "c.pt")!r})
trial = Answers().trial(store)
trial.checkpoint({{"epoch": 1}})
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # as if the disk had so much room left
trial.checkpoint({{"epoch": 2, "w": torch.zeros(100000)}})
trial.report(1, loss=0.5)
assert store.load() == {{"epoch": 1}}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "was not written, training goes on without it" in done.stdout
    assert os.listdir(tmp_path) == ["c.pt"]


def test_a_folder_that_cannot_be_made_costs_the_checkpoint_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    trial = Answers().trial(CheckpointFile(tmp_path / "file" / "c.pt"))
    with caplog.at_level(logging.WARNING):
        trial.checkpoint({"epoch": 1})
    assert "was not written" in caplog.text
