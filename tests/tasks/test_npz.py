"""`npz`: which arrays train, and a sentence for every file that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.errors import UserError
from hpo.tasks import Task, tasks

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(3, 5, (50, 4)), np.resize([0, 1], 50)


def made(folder: Path, options: dict[str, Any] | None = None, **arrays: Any) -> Task:
    np.savez(folder / "data.npz", **arrays)
    return tasks.parse({"name": "npz", "path": str(folder / "data.npz"), **(options or {})}).make()


def test_arrays_given_apart_stay_apart(tmp_path: Path) -> None:
    parts = {"train": slice(0, 30), "val": slice(30, 40), "test": slice(40, 50)}
    arrays = {f"{name}_{part}": values[rows] for part, rows in parts.items() for name, values in (("x", X), ("y", Y))}
    task = made(tmp_path, **arrays)
    scaled = (X - X[:30].mean(0)) / X[:30].std(0)
    for part, (x, y) in task.splits():
        assert np.allclose(x, scaled[parts[part]], atol=1e-6)
        assert np.array_equal(y, Y[parts[part]])


def test_some_of_those_that_train_validate_where_none_are_given(tmp_path: Path) -> None:
    task = made(tmp_path, x_train=X[:40], y_train=Y[:40], x_test=X[40:], y_test=Y[40:])
    assert [len(y) for _, (_, y) in task.splits()] == [32, 8, 10]
    assert np.array_equal(dict(task.splits())["test"][1], Y[40:])
    assert [len(y) for _, (_, y) in made(tmp_path, {"test": 0.0}, x=X, y=Y).splits()] == [40, 10]


def test_images_are_scaled_alike_and_left_alone_where_asked(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (50, 1, 4, 4), dtype=np.uint8)
    task = made(tmp_path, x=images, y=Y)
    assert task.input_shape == (1, 4, 4)
    assert abs(task.train[0].mean()) < 1e-6
    assert made(tmp_path, {"standardize": False}, x=images, y=Y).train[0].max() > 200


@pytest.mark.parametrize(
    ("y", "outputs", "classes"),
    [(np.resize(["a", "b", "c"], 50), 3, True), (X[:, 0], 1, False), (Y[:, None] + 5, 2, True), (Y == 1, 2, True)],
)
def test_targets_are_classes_or_numbers(tmp_path: Path, y: Any, outputs: int, classes: bool) -> None:
    task = made(tmp_path, x=X, y=y)
    assert (task.outputs, task.has_classes) == (outputs, classes)


HOLE = np.where(np.arange(50)[:, None] == 7, np.nan, X)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no y": ({"x": X, "Y": Y}, "unknown array 'y'; did you mean 'Y'? (allowed: Y, x)"),
    "no y_train": ({"x_train": X, "y": Y}, "unknown array 'y_train'; "),
    "no x_train": ({"x": X, "y_train": Y}, "unknown array 'x_train'; "),
    "x_test beside x": (
        {"x": X, "y": Y, "x_test": X, "y_test": Y},
        "x_test stands beside x; call what trains x_train and y_train",
    ),
    "no numbers": ({"x": X[:, :0], "y": Y}, "the examples of x hold no numbers, its shape is (50, 0)"),
    "bytes": ({"x": X, "y": np.resize([b"\xe9", b"e"], 50)}, "y holds bytes that are no ASCII; write it as texts"),
    "nothing": ({"x": X[:0], "y": Y[:0]}, "x holds no examples"),
    "other shapes": (
        {"x_train": X, "y_train": Y, "x_val": X[:, :3], "y_val": Y},
        "x_val has examples of shape (3,), those of x_train are (4,)",
    ),
    "texts and numbers": (
        {"x_train": X, "y_train": Y, "x_val": X, "y_val": Y.astype(str)},
        "one of y_val and y_train holds texts, the other numbers",
    ),
    "other lengths": ({"x": X, "y": Y[:49]}, "x and y must have the same length, found 50 and 49"),
    "NaN": ({"x": HOLE, "y": Y}, "x is NaN or infinite in row 7 of 50, counted from 0"),
    "NaN targets": ({"x": X, "y": HOLE[:, 0]}, "y is NaN or infinite in row 7 of 50, counted from 0"),
    "texts": ({"x": X.astype(str), "y": Y}, "x must hold numbers, one row an example, found <U"),
    "wide targets": ({"x": X, "y": X}, "y must be (examples,), found shape (50, 4)"),
    "one class": ({"x": X, "y": Y * 0}, "y is 0 in all 50 rows; one class or value only leaves nothing to learn"),
    "objects": ({"x": X, "y": np.array([None] * 50)}, "data.npz holds Python objects; np.savez writes plain arrays"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_one_sentence(case: str, tmp_path: Path) -> None:
    arrays, sentence = WRONG[case]
    with pytest.raises(UserError) as raised:
        made(tmp_path, **arrays)
    assert str(raised.value).startswith(f"task.path: {sentence}")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"x,y\n1,2\n"])
def test_no_npz_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"^task\.path: data\.npz is no \.npz file; np\.savez writes plain arrays$"):
        tasks.parse({"name": "npz", "path": str(tmp_path / "data.npz")}).make()
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(UserError, match=r"^task\.path: one\.npy is a single array; "):
        tasks.parse({"name": "npz", "path": str(tmp_path / "one.npy")}).make()
