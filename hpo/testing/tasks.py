"""What every task must do, as a class of tests to inherit.

class TestMine(TaskSuite):
    @pytest.fixture
    def task_entry(self) -> TaskEntry:
        return tasks.parse("mine")
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpo.tasks import Task, TaskEntry, tasks
from hpo.testing.entries import EntrySuite
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, evaluate, metric_names, train_task, with_paths


class TaskSuite(EntrySuite):
    """Tests of one task entry; a subclass gives it as the fixture `task_entry`."""

    registry = tasks
    settings: dict[str, Any] = {"epochs": 3, "optimizer.lr": 0.001}
    """What a config needs to learn something in every one of a few epochs."""

    @pytest.fixture
    def task_entry(self) -> TaskEntry:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, task_entry: TaskEntry) -> TaskEntry:
        """The same, for the tests of any entry."""
        return task_entry

    def test_it_says_how_many_examples_there_are_or_nothing(self, task_entry: TaskEntry, task: Task) -> None:
        assert task_entry.examples() in (None, len(task.train[0]))

    @pytest.fixture
    def task(self, task_entry: TaskEntry) -> Task:
        """The task itself."""
        return task_entry.make()

    def test_it_says_what_its_configs_start_from(self, task_entry: TaskEntry, task: Task) -> None:
        known, made = TrainingConfig.starting(task_entry.starts())(), TrainingConfig.for_task(task)()
        assert {field: getattr(made, field) for field in task_entry.starts()} == {
            field: getattr(known, field) for field in task_entry.starts()
        }

    def test_is_the_same_at_every_call(self, task_entry: TaskEntry, task: Task) -> None:
        for (name, (x, y)), (_, (again_x, again_y)) in zip(task.splits(), task_entry.make().splits(), strict=True):
            assert np.array_equal(x, again_x), name
            assert np.array_equal(y, again_y), name

    def test_keeps_its_splits_apart(self, task: Task) -> None:
        rows = [
            {(bytes(np.asarray(x[i])), bytes(np.asarray(y[i]))) for i in range(len(x))} for _, (x, y) in task.splits()
        ]
        assert sum(map(len, rows)) == len(set().union(*rows))

    def test_is_learned_from(self, task: Task) -> None:
        config = with_paths(TrainingConfig.for_task(task)(), self.settings)
        answers = Answers()
        trained = train_task(config, task, answers.trial())
        assert set(trained.metrics) == set(metric_names(task))
        assert [progress.step for progress in answers.seen] == list(range(1, config.epochs + 1))
        assert answers.seen[-1].metrics["val_loss"] < answers.seen[0].metrics["val_loss"]
        if task.test is not None:
            assert set(evaluate(trained.net, config, task)) == {
                name.replace("val_", "test_") for name in trained.metrics if name.startswith("val_")
            }
