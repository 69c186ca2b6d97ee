"""A sweep worked on in this process: the real coordinator, storage and training function, one slot, no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hpo import runs
from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import Assignment, Crashed, Finished, News, Report
from hpo.storage import open_storage
from hpo.sweep import Sweep
from hpo.training import Verdict
from hpo.training.function import TrainingFunction
from hpo.training.trial import Stopped, Trial
from hpo.tuning.runner import RunPlan


def run_here(keys: dict[str, Any], folder: Path) -> str:
    """Run a sweep of these keys, its files and database in `folder`; the database's URL."""
    url = f"sqlite:///{folder / 'hpo.db'}"
    sweep = Sweep.from_dict(keys, folder)
    with open_storage(url) as storage:
        taking = runs._Taking(None, None)
        with runs._held(sweep, storage, taking) as tenure:
            _run(runs._prepare(sweep, storage, tenure, taking))
    return url


def _run(plan: RunPlan) -> None:
    opened = plan.source.open()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        live = LiveStudy(
            opened.study, plan.search, opened.flush, plan.files.log_text, record=opened.record, note=opened.log
        )
        coordinator = Coordinator(live, plan.search)
        _work(coordinator, plan.job.load("cpu"))
        coordinator.close("done")
    finally:
        torch.set_num_threads(threads)
        opened.close()


def _work(coordinator: Coordinator, train: TrainingFunction) -> None:
    coordinator.open_slot("here")
    news: list[News] = []
    while True:
        answer = coordinator.exchange("here", news, 1, ())
        if answer.over:
            return
        news = [end for one in answer.assignments for end in _trained(coordinator, train, one)]


def _trained(coordinator: Coordinator, train: TrainingFunction, one: Assignment) -> list[News]:
    """What the slot has to tell after a training; nothing where a report has ended the trial."""

    def send(step: int, metrics: Any) -> Verdict:
        report = Report(one.number, one.attempt, step, metrics)
        return coordinator.exchange("here", [report], 0, [one.number]).verdicts[0]

    trial = Trial(one.number, one.seed, send)
    try:
        ended = train(one.params, trial)
    except Stopped:
        return []
    except Exception as error:
        return [Crashed(one.number, one.attempt, f"{type(error).__name__}: {error}")]
    return [Finished(one.number, one.attempt, ended.metrics, ended.unread)] if trial.verdict is Verdict.GO_ON else []
