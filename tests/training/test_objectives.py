"""What is searched for is measured, also where a task does not name it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.errors import UserError
from hpo.tasks import Task, tasks
from hpo.testing.entries import example
from hpo.testing.trials import Answers
from hpo.training import metric_names
from hpo.training.function import TaskJob, with_objectives
from hpo.training.metrics import metrics


@pytest.mark.parametrize("name", [name for name in metrics if metrics.get(name).classes])
def test_any_metric_of_classes_may_be_the_objective(name: str) -> None:
    job = TaskJob({"epochs": 1, "batch_size": 256}, "", name="digits", metrics=(f"val_{name}",))
    answers = Answers()
    job.load("cpu")({}, answers.trial())
    assert f"val_{name}" in answers.seen[-1].metrics
    assert metric_names(job.make())[f"val_{name}"] == example(metrics, name).direction


def test_a_task_that_names_it_stays_as_it_is() -> None:
    task = tasks.parse("digits").make()
    assert with_objectives(task, ["val_accuracy", "val_loss", "train_loss"]) is task
    assert with_objectives(task, ["val_f2"]) is task


def test_an_objective_that_does_not_fit_is_named_as_one() -> None:
    with pytest.raises(UserError, match=r"^objective\.metric: r2 needs float targets, the task has others"):
        with_objectives(tasks.parse("digits").make(), ["val_r2"])


def test_a_label_of_the_users_own_task_may_be_the_objective(tmp_path: Path) -> None:
    from hpo.sweep import Sweep

    (tmp_path / "my_task.py").write_text("def make(): ...\n")
    keys = {
        "name": "labelled",
        "task": "my_task.py:make",
        "space": {"optimizer.lr": {"low": 0.1, "high": 0.2}},
        "budget": {"trials": 1},
    }

    def sweep(metric: str) -> Sweep:
        return Sweep.from_dict({**keys, "objective": {"metric": metric, "direction": "maximize"}}, tmp_path)

    assert sweep("val_f1_of_ones").goals[0].metric == "val_f1_of_ones"
    for name in ("val_acuracy", "f1_of_ones"):
        with pytest.raises(UserError, match=r"^objective\.metric: unknown metric"):
            sweep(name)


def test_an_unknown_label_is_named_before_anything_is_trained() -> None:
    job = TaskJob({}, "", name="digits", metrics=("val_f1_of_ones",))
    with pytest.raises(UserError, match=r"^objective\.metric: unknown metric of this task 'val_f1_of_ones'"):
        job.load("cpu")
    assert isinstance(job.make(), Task)
