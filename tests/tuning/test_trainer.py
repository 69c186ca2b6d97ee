"""What a slot tells the coordinator of a trial and its checkpoints, and when; by a coordinator that writes all down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpo.search.messages import (
    Answer,
    Assignment,
    Checkpointed,
    Crashed,
    Finished,
    Lead,
    News,
    Released,
    Report,
    Saving,
)
from hpo.training import Diverged, Trial, Verdict
from hpo.training.by_class import ByClass
from hpo.training.function import Ended
from hpo.tuning.files import TrialFiles
from hpo.tuning.trainer import Trainer

Train = Callable[[Trial], Any]


class Desk:
    """Answers every exchange: GO_ON, but what `answers` says to the report of a step; `drop` is told once."""

    def __init__(self, answers: dict[int, Verdict] | None = None) -> None:
        self.answers, self.drop = answers or {}, ()
        self.heard: list[list[News]] = []
        self.held: list[tuple[int, ...]] = []

    def __call__(self, news: Sequence[News], free: int, holds: Sequence[int]) -> Answer:
        self.heard.append(list(news))
        self.held.append(tuple(holds))
        drop, self.drop = self.drop, ()
        verdicts: list[Verdict] = []
        for item in news:
            if isinstance(item, Report):
                verdicts.append(self.answers.get(item.step, Verdict.GO_ON))
            elif isinstance(item, Saving):
                verdicts.append(Verdict.REFUSED if Verdict.REFUSED in verdicts else Verdict.GO_ON)
        return Answer(tuple(verdicts), drop=drop)

    @property
    def news(self) -> list[News]:
        """All but that a checkpoint is about to be written."""
        return [item for one in self.heard for item in one if not isinstance(item, Saving)]


@pytest.fixture
def files(tmp_path: Path) -> TrialFiles:
    return TrialFiles(str(tmp_path), str(tmp_path / "kept"), every=0.001)


def train(files: TrialFiles, desk: Desk, run: Train, number: int = 4, attempt: int = 1, decided: bool = True) -> None:
    """One trial, and the exchange after it."""
    trainer = Trainer(files, desk)

    def function(params: Any, trial: Trial) -> Ended:
        return Ended(run(trial) or {})

    trainer.train(function, Assignment(number, attempt, 0, {}, decided))
    trainer.exchange(1)


def test_a_report_at_a_time_and_then_the_end(files: TrialFiles) -> None:
    desk = Desk()
    train(files, desk, lambda trial: [trial.report(step, loss=1.0) for step in (1, 2)] and {"loss": 0.5})
    assert desk.heard == [
        [Report(4, 1, 1, {"loss": 1.0})],
        [Report(4, 1, 2, {"loss": 1.0})],
        [Finished(4, 1, {"loss": 0.5})],
    ]
    assert desk.held == [(4,), (4,), ()]


def test_reports_that_nobody_decides_on_travel_together(files: TrialFiles) -> None:
    desk = Desk()
    train(files, desk, lambda trial: [trial.report(step, loss=1.0) for step in range(1, 9)] and None, decided=False)
    assert len(desk.heard) <= 3
    assert [item.step for item in desk.news if isinstance(item, Report)] == list(range(1, 9))


def test_what_a_checkpoint_rests_on_is_told_before_it_is_written(files: TrialFiles) -> None:
    written: list[int] = []

    class Looking(Desk):
        def __call__(self, news: Sequence[News], free: int, holds: Sequence[int]) -> Answer:
            written.append(len(files.place().names()))
            return super().__call__(news, free, holds)

    def run(trial: Trial) -> None:
        for step in (1, 2, 3):
            trial.report(step, loss=1.0)
        trial.checkpoint({"step": 3})

    desk = Looking()
    train(files, desk, run, decided=False)
    before = [item for heard, there in zip(desk.heard, written, strict=True) if not there for item in heard]
    assert [item.step for item in before if isinstance(item, Report)] == [1, 2, 3]
    assert before[-1] == Saving(4, 1)


def test_a_refused_slot_saves_nothing(files: TrialFiles) -> None:
    def run(trial: Trial) -> None:
        trial.report(1, loss=1.0)  # is told at once
        trial.report(2, loss=1.0)  # waits for company
        trial.checkpoint({"step": 2})

    train(files, Desk({2: Verdict.REFUSED}), run, decided=False)
    assert files.place().names() == []


def test_where_checkpoints_lie_is_told_once_and_each_save_with_its_report(files: TrialFiles) -> None:
    def run(trial: Trial) -> None:
        for step in (1, 2, 3):
            trial.report(step, loss=1.0)
            if step < 3:
                trial.checkpoint({"step": step})

    desk = Desk()
    train(files, desk, run)
    where = files.place().shown("4.1.pt")
    assert desk.news == [
        Report(4, 1, 1, {"loss": 1.0}),
        Checkpointed(4, 1, where),
        Report(4, 1, 2, {"loss": 1.0}, saved=True),
        Report(4, 1, 3, {"loss": 1.0}, saved=True),
        Finished(4, 1),
    ]


def test_a_checkpoint_after_the_last_report_is_told_with_the_end(files: TrialFiles) -> None:
    desk = Desk()
    train(files, desk, lambda trial: trial.checkpoint({}))
    assert desk.heard == [[Saving(4, 1)], [Checkpointed(4, 1, files.place().shown("4.1.pt")), Finished(4, 1)]]


def test_an_attempt_that_saved_nothing_tells_where_it_went_on_from(files: TrialFiles) -> None:
    train(files, Desk(), lambda trial: trial.checkpoint({"step": 1}))
    desk = Desk()
    found: list[Any] = []
    train(files, desk, lambda trial: found.append(trial.resume_from), attempt=2)
    assert found == [{"step": 1}]
    assert desk.news[0] == Checkpointed(4, 2, files.place().shown("4.1.pt"))


def test_a_place_that_cannot_be_written_is_told_once_and_the_trial_goes_on(files: TrialFiles, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("in the way")

    def run(trial: Trial) -> None:
        for step in (1, 2, 3):
            trial.checkpoint({"step": step})
            trial.report(step, loss=1.0)

    desk = Desk()
    train(files, desk, run)
    (told,) = [item for item in desk.news if isinstance(item, Checkpointed)]
    assert told.where is None
    assert told.trouble is not None
    assert told.trouble.startswith(f"{tmp_path}/kept/4.1.pt: ")
    assert desk.news[-1] == Finished(4, 1)
    assert files.log(4).read_text().count("was not written") == 1


def test_what_the_coordinator_drops_is_deleted_after_its_answer(files: TrialFiles) -> None:
    desk = Desk()
    train(files, desk, lambda trial: trial.checkpoint({}))
    train(files, desk, lambda trial: trial.checkpoint({}), number=5)
    desk.drop = (4,)
    trainer = Trainer(files, desk)
    trainer.exchange(1)
    assert files.place().names() == ["5.1.pt"]


def raised(error: Exception) -> Train:
    def run(trial: Trial) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "answers", "ended"),
    [
        (raised(ValueError("no ftp://me:secret@h")), {}, Crashed(4, 1, "ValueError: no ftp://me:***@h")),
        (
            raised(Diverged(2, "loss", float("inf"))),
            {},
            Crashed(4, 1, "diverged: loss is inf at step 2", retryable=False),
        ),
        (lambda trial: trial.report(1, loss=1.0), {1: Verdict.PUT_BACK}, Released(4, 1)),
        (lambda trial: trial.go_on(1, {"loss": 1.0}) and None, {1: Verdict.PRUNED}, Released(4, 1)),
    ],
)
def test_how_a_training_ends(run: Train, answers: dict[int, Verdict], ended: News, files: TrialFiles) -> None:
    desk = Desk(answers)
    train(files, desk, run)
    assert desk.news[-1] == ended


@pytest.mark.parametrize(("keep", "keeps"), [(0, False), (1, True), (5, True)])
def test_a_trial_knows_whether_its_end_is_worth_saving(keep: int, keeps: bool, tmp_path: Path) -> None:
    known: list[bool] = []
    files = TrialFiles(str(tmp_path), str(tmp_path / "kept"), keep=keep)
    train(files, Desk(), lambda trial: known.append(trial.keeps))
    assert known == [keeps]


MEASURED = ByClass(split="val", confusion=((3, 1), (0, 4)), roc=())


def finished(files: TrialFiles, lead: Lead | None, scores: Sequence[float], measure: Callable[[], ByClass]) -> Finished:
    """How a trial of these scores is told to have ended."""
    desk = Desk()
    trainer = Trainer(files, desk)

    def function(params: Any, trial: Trial) -> Ended:
        for step, score in enumerate(scores):
            trial.report(step, score=score)
        return Ended(by_class=measure)

    trainer.train(function, Assignment(4, 1, 0, {}, lead=lead))
    trainer.exchange(1)
    (end,) = [item for item in desk.news if isinstance(item, Finished)]
    return end


@pytest.mark.parametrize(
    ("lead", "scores", "measures"),
    [
        (Lead("score", True, None), [0.1], True),
        (Lead("score", True, 0.5), [0.1, 0.6], True),
        (Lead("score", True, 0.5), [0.6, 0.1], True),  # the best report may be what counts
        (Lead("score", True, 0.5), [0.1, 0.5], False),
        (Lead("score", False, 0.5), [0.6, 0.5], False),
        (Lead("score", False, 0.5), [0.6, 0.4], True),
        (Lead("other", True, None), [0.6], False),
        (None, [0.6], False),
    ],
)
def test_only_a_trial_that_may_be_the_best_is_measured_by_class(
    lead: Lead | None, scores: list[float], measures: bool, files: TrialFiles
) -> None:
    asked: list[None] = []
    end = finished(files, lead, scores, lambda: asked.append(None) or MEASURED)
    assert len(asked) == measures
    assert end.by_class == ({"split": "val", "confusion": [[3, 1], [0, 4]], "roc": []} if measures else None)


def test_a_measurement_by_class_that_fails_does_not_cost_the_trial(files: TrialFiles) -> None:
    def fails() -> ByClass:
        raise MemoryError("no memory for a sort")

    assert finished(files, Lead("score", True, None), [0.1], fails) == Finished(4, 1)
    assert "MemoryError: no memory for a sort" in Path(files.log(4)).read_text()
