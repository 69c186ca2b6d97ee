"""`mnist`: IDX files, plain or gzipped, and a sentence for each that is missing or broken."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpo.errors import UserError
from hpo.tasks import tasks
from tests.tasks.files import idx, write_idx

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"


def test_the_test_files_test_and_pixels_are_scaled_by_those_that_train(tmp_path: Path) -> None:
    task = tasks.parse({"name": "mnist", **write_idx(tmp_path), "val": 0.25}).make()
    splits = dict(task.splits())
    assert [len(y) for _, y in splits.values()] == [900, 300, 597]
    assert (task.input_shape, task.outputs) == ((1, 8, 8), 10)
    train = splits["train"][0]
    assert (abs(train.mean()) < 1e-6, abs(train.std() - 1) < 1e-5) == (True, True)
    labels = np.frombuffer(gzip.decompress((tmp_path / TEST).read_bytes()), np.uint8, offset=8)
    assert np.array_equal(splits["test"][1], labels)


def test_names_with_a_dot_are_found_too(tmp_path: Path) -> None:
    given = write_idx(tmp_path)
    (tmp_path / TRAIN).rename(tmp_path / "train-images.idx3-ubyte")
    assert tasks.parse({"name": "mnist", **given}).make().outputs == 10


WRONG: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "missing": (TRAIN, lambda _: None, f"no file {TRAIN} or {TRAIN}.gz in "),
    "no IDX": (TRAIN, lambda _: b"hello, this is no such file", f"{TRAIN} is no IDX file of bytes in 3 dimensions"),
    "empty": (TRAIN, lambda _: b"", f"{TRAIN} is no IDX file of bytes in 3 dimensions"),
    "cut off": (TRAIN, lambda old: old[:-5], f"{TRAIN} has 76,811 bytes, its head promises 76,816; get it anew"),
    "labels for images": (TRAIN, lambda _: idx(np.zeros(9)), f"{TRAIN} is no IDX file of bytes in 3 dimensions"),
    "a gzip file cut off": (TEST, lambda old: old[:-12], f"{TEST} is cut off, or no whole gzip file; get it anew"),
    "no gzip file": (TEST, lambda _: b"labels", f"{TEST} is cut off, or no whole gzip file; get it anew"),
    "too few labels": (TEST, lambda _: gzip.compress(idx(np.zeros(9))), "t10k has 597 images and 9 labels"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_missing_or_broken_file_is_one_sentence(case: str, tmp_path: Path) -> None:
    given = write_idx(tmp_path)
    name, change, sentence = WRONG[case]
    content = change((tmp_path / name).read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        tasks.parse({"name": "mnist", **given}).make()
    assert str(raised.value).startswith(f"task.path: {sentence}")
    assert "\n" not in str(raised.value)
