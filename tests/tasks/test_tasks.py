"""Tasks and models against their suites, and the sentences of a Task that does not fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as sklearn_digits

from hpo.errors import UserError
from hpo.tasks import ModelEntry, Task, TaskEntry, models, tasks
from hpo.tasks.datasets.digits import load_digits
from hpo.testing.models import ModelSuite
from hpo.testing.tasks import TaskSuite
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, train_task, with_paths
from tests.tasks.files import entry_in

X, Y = np.zeros((6, 3), np.float32), np.array([0, 1, 2, 0, 1, 2])


OPTIONS: dict[str, dict[str, Any]] = {"modular_addition": {"p": 11, "train_fraction": 0.8}}
"""Of tasks that are large as they are."""
SETTINGS: dict[str, dict[str, Any]] = {
    "modular_addition": {"epochs": 12, "optimizer.lr": 0.01, "optimizer.weight_decay": 1.0, "model.width": 32}
}
"""Where a few epochs at the suite's own teach nothing."""


class TestTasks(TaskSuite):
    @pytest.fixture(params=list(tasks))
    def task_entry(self, request: pytest.FixtureRequest, tmp_path: Path) -> TaskEntry:
        self.settings = SETTINGS.get(request.param, TaskSuite.settings)
        return entry_in(tmp_path / "data", request.param, **OPTIONS.get(request.param, {}))


SHAPES: dict[str, tuple[int, ...]] = {"transformer": (6, 8)}
"""Inputs of models that take no small images."""
SMALL: dict[str, dict[str, Any]] = {"resnet18": {"width": 4}}


class TestModels(ModelSuite):
    @pytest.fixture(params=list(models))
    def model(self, request: pytest.FixtureRequest) -> ModelEntry:
        self.input_shape = SHAPES.get(request.param, ModelSuite.input_shape)
        return models.parse({"name": request.param, **SMALL.get(request.param, {})})


def test_digits_are_scikit_learns() -> None:
    pixels, classes = load_digits()
    bunch = sklearn_digits()
    assert np.array_equal(pixels, bunch.data)
    assert np.array_equal(classes, bunch.target)
    assert (pixels.dtype, classes.dtype) == (np.float64, np.int64)


def test_digits_are_split_by_their_own_seed() -> None:
    task, other = tasks.parse("digits").make(), tasks.parse({"name": "digits", "split_seed": 1}).make()
    assert [len(y) for _, (_, y) in task.splits()] == [1078, 360, 359]
    assert task.input_shape == (1, 8, 8)
    assert task.outputs == 10
    assert (task.train[0].min(), task.train[0].max()) == (0.0, 1.0)
    assert not np.array_equal(task.train[1], other.train[1])
    assert all(len(np.unique(y)) == 10 for _, (_, y) in task.splits())


def test_the_default_mlp_on_digits_is_64_64_10() -> None:
    net = models.parse("mlp").build((1, 8, 8), 10)
    assert [tuple(p.shape) for p in net.parameters()] == [(64, 64), (64,), (10, 64), (10,)]
    deep = models.parse({"name": "mlp", "depth": 3, "width": 5}).build((7,), 2)
    assert [tuple(p.shape) for p in deep.parameters() if p.ndim == 2] == [(5, 7), (5, 5), (5, 5), (2, 5)]


def test_cnn_says_what_it_needs() -> None:
    with pytest.raises(UserError, match=r"^model: cnn needs images .*, the task has \(64,\)"):
        models.parse("cnn").build((64,), 10)


def test_cnn_learns_digits() -> None:
    task = tasks.parse("digits").make()
    config = with_paths(TrainingConfig(), {"model": "cnn", "optimizer.lr": 0.01, "epochs": 3})
    assert train_task(config, task, Answers().trial()).metrics["val_accuracy"] > 0.85


def test_torch_tensors_and_odd_dtypes_are_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 2, generator=generator, dtype=torch.float64)
    y = (x[:, 0] > 0.5).to(torch.uint8)
    task = Task((x, y), (x.numpy(), y.numpy().astype(bool)))
    assert (task.input_shape, task.outputs, task.has_classes) == ((2,), 2, True)
    config = with_paths(TrainingConfig(), {"epochs": 30, "optimizer.lr": 0.03})
    assert train_task(config, task, Answers().trial()).metrics["val_accuracy"] > 0.9


def test_arrays_that_torch_cannot_share_are_taken() -> None:
    frozen, backwards = X.copy(), X[::-1]
    frozen.setflags(write=False)
    config = with_paths(TrainingConfig(), {"epochs": 1, "batch_size": 3})
    assert train_task(config, Task((frozen, Y), (backwards, Y)), Answers().trial()).metrics


def test_classes_of_all_splits_count() -> None:
    assert Task((X, Y), (X, Y + 4)).outputs == 7


def test_float_targets_have_their_width_as_outputs() -> None:
    assert Task((X, X[:, :2]), (X, X[:, :2])).outputs == 2
    assert Task((X, X[:, 0]), (X, X[:, 0])).outputs == 1


MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"train": (X, Y[:5])}, r"^task\.train: x and y must have the same length, found 6 and 5"),
    ({"val": (X, Y[:5])}, r"^task\.val: x and y must have the same length, found 6 and 5"),
    ({"train": X}, r"^task\.train: must be a pair \(x, y\), found ndarray"),
    ({"train": (X, Y, Y)}, r"^task\.train: must be a pair \(x, y\), found a tuple of 3"),
    ({"train": ([[1.0]], Y)}, r"^task\.train: x must be a NumPy array or a torch tensor, found a list of 1"),
    ({"val": (X, [0, 1])}, r"^task\.val: y must be a NumPy array or a torch tensor, found a list of 2"),
    ({"val": (X[:, :2], Y)}, r"^task: val x has examples of shape \(2,\), train has \(3,\)"),
    ({"test": (X, Y[:, None])}, r"^task: test y has examples of shape \(1,\), train has \(\)"),
    ({"val": (X, Y.astype(np.float32))}, r"^task: val y holds float32, train holds int64"),
    ({"train": (X, np.array(list("abcdef")))}, r"^task\.train: y must hold floats or integers, found <U1"),
    ({"train": (X[:0], Y[:0])}, r"^task\.train: has no examples"),
    ({"train": (X, Y - 1)}, r"^task\.train: classes in y must count from 0, found -1"),
    ({"train": (X, np.int64(3))}, r"^task\.train: y must have one row an example, found a single number"),
    ({"model": 3}, r"^task\.model: must be a function that takes a config, or a registered model's name .*found int"),
    ({"loss": 3}, r"^task\.loss: must be a loss's name or a mapping with one, found int"),
    ({"metrics": "accuracy"}, r"^task\.metrics: must be a list of metrics, found str"),
]


@pytest.mark.parametrize(("changes", "sentence"), MISFITS)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as raised:
        Task(**{"train": (X, Y), "val": (X, Y), **changes})
    assert "\n" not in str(raised.value)
