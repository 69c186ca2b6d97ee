"""The trial's handle."""

from __future__ import annotations

import os
import pickle
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
    first.report(4, loss=1.0)
    resumed = Answers().trial(store).resume_from
    assert resumed is not None
    assert resumed["epoch"] == 4
    assert torch.equal(resumed["net"]["w"], torch.arange(3.0))
    assert os.listdir(tmp_path / "deep") == ["trial-3.pt"], "nothing is left beside it"


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


class Failing:
    """A store in which nothing can be written while it is `down`, and who asked how often."""

    def __init__(self) -> None:
        self.down, self.asked, self.steps = True, 0, list[int]()

    def save(self, state: Any, step: int, hold: bool) -> bool:
        self.asked += 1
        if not self.down:
            self.steps.append(step)
        return not self.down

    def settle(self) -> None:
        """Whatever is held."""

    def load(self) -> None:
        return None


def test_a_place_that_fails_is_left_alone_for_longer_each_time_and_asked_again() -> None:
    now, store = [0.0], Failing()
    trial = Trial(0, 0, Answers(), store, 10.0, clock=lambda: now[0])
    asked = []
    for second in range(200):
        now[0] = float(second)
        trial.checkpoint({"epoch": second})  # a loop that saves at every step
        asked.append(store.asked)
    first_tries = [second for second in range(1, 200) if asked[second] > asked[second - 1]]
    assert asked[0] == 1
    assert first_tries == [20, 60, 140], "after 20, 40 and 80 seconds more"
    store.down, now[0] = False, 300.0
    trial.checkpoint({"epoch": 1})
    trial.checkpoint({"epoch": 2})
    assert len(store.steps) == 2, "once it answers, every save is written"


def test_a_trial_that_is_put_back_is_saved_however_often_that_has_failed() -> None:
    store = Failing()
    trial = Trial(0, 0, Answers({1: Verdict.PUT_BACK}), store, 10.0, clock=lambda: 0.0)
    trial.checkpoint({"epoch": 0})
    store.down = False
    assert not trial.go_on(1, {"loss": 1.0})
    trial.checkpoint({"epoch": 1})
    assert store.steps == [1]


@pytest.mark.parametrize("verdict", [Verdict.PRUNED, Verdict.REFUSED])
def test_a_trial_that_has_its_result_saves_nothing_more(verdict: Verdict) -> None:
    store = Failing()
    store.down = False
    trial = Trial(0, 0, Answers({1: verdict}), store)
    assert not trial.go_on(1, {"loss": 1.0})
    trial.checkpoint({"epoch": 1})
    assert store.steps == []


class Timed:
    """A loop whose steps take 10 seconds, its reports and saves 0.1; and what a later attempt would find."""

    def __init__(self, folder: Path, verdicts: dict[int, Verdict] | None = None) -> None:
        self.now, self.step, self.found = 0.0, 0, list[int | None]()
        self.store = CheckpointFile(folder / "c.pt")
        self.trial = Trial(0, 0, Answers(verdicts), self.store, clock=lambda: self.now)

    def do(self, moves: str) -> list[int | None]:
        """t trains one step, c saves it, r reports it."""
        for move in moves:
            self.now += 10.0 if move == "t" else 0.1
            if move == "t":
                self.step += 1
            elif move == "c":
                self.trial.checkpoint({"step": self.step})
            else:
                self.trial.go_on(self.step, {"loss": 1.0})
            state = self.store.load()
            self.found.append(None if state is None else state["step"])
        return self.found


@pytest.mark.parametrize(
    ("moves", "found"),
    [
        ("trctrctrc", [None, None, 1, 1, 1, 2, 2, 2, 3]),  # reported, then saved: counts at once
        ("tcrtcrtcr", [None, None, 1, 1, 1, 2, 2, 2, 3]),  # saved, then reported: counts with the report
        ("trtrtcrtrtrtcr", [None, None, None, None, None, None, 3, 3, 3, 3, 3, 3, 3, 6]),  # at every third report
        ("trtctctcr", [None, None, None, None, None, 2, 2, 3, 4]),  # several between reports: the one before counts
    ],
)
def test_a_state_that_holds_more_than_was_reported_counts_from_the_next_report_on(
    tmp_path: Path, moves: str, found: list[int | None]
) -> None:
    assert Timed(tmp_path).do(moves) == found


def test_a_state_saved_after_being_put_back_counts_at_once(tmp_path: Path) -> None:
    timed = Timed(tmp_path, {1: Verdict.PUT_BACK})
    assert timed.do("trtc") == [None, None, None, 2]


def test_a_refused_report_settles_nothing(tmp_path: Path) -> None:
    assert Timed(tmp_path, {1: Verdict.REFUSED}).do("tcr") == [None, None, None]


def test_a_checkpoint_knows_the_step_reported_last() -> None:
    store = Failing()
    store.down = False
    trial = Trial(0, 0, Answers(), store)
    for step in (3, 7):
        trial.checkpoint({})
        trial.report(step, loss=1.0)
    trial.checkpoint({})
    assert store.steps == [0, 3, 7]
