"""`breast_cancer` and `diabetes` are scikit-learn's data, shared out and scaled as they say."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from hpo.tasks import tasks

RAW = {
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "diabetes": lambda: load_diabetes(return_X_y=True, scaled=False),
}


@pytest.mark.parametrize("name", RAW)
def test_the_training_rows_scale_all_of_scikit_learns(name: str) -> None:
    x, _ = RAW[name]()
    task = tasks.parse(name).make()
    splits = dict(task.splits())
    train_x = splits["train"][0]
    assert train_x.dtype == np.float32
    assert np.allclose(train_x.mean(0), 0, atol=1e-6)
    assert np.allclose(train_x.std(0), 1, atol=1e-5)
    # undone with one column's mean and deviation, the rows are those of the data, each once
    found = np.sort(np.concatenate([x[:, 0] for x, _ in splits.values()]))
    raw = np.sort(x[:, 0])
    scale = (raw[-1] - raw[0]) / (found[-1] - found[0])
    assert np.allclose((found - found[0]) * scale + raw[0], raw, atol=1e-4)


def test_tumours_are_shared_out_alike() -> None:
    task = tasks.parse("breast_cancer").make()
    assert [len(y) for _, (_, y) in task.splits()] == [343, 113, 113]
    assert task.outputs == 2
    assert np.ptp([y.mean() for _, (_, y) in task.splits()]) < 0.01
    assert not np.array_equal(task.train[1], tasks.parse({"name": "breast_cancer", "split_seed": 1}).make().train[1])


def test_diabetes_is_a_regression_in_deviations() -> None:
    task = tasks.parse("diabetes").make()
    assert [len(y) for _, (_, y) in task.splits()] == [266, 88, 88]
    assert (task.has_classes, task.outputs, task.loss) == (False, 1, "mse")
    assert abs(task.train[1].std() - 1) < 1e-5


@pytest.mark.parametrize("name", [*RAW, "digits"])
def test_scikit_learn_is_not_imported(name: str) -> None:
    code = f"import sys; from hpo.tasks import tasks; tasks.parse({name!r}).make(); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
