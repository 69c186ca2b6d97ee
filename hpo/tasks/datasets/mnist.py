"""The task `mnist`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from hpo.errors import UserError
from hpo.tasks.from_files import FileTask
from hpo.tasks.idx import find_idx, read_idx
from hpo.tasks.registries import tasks
from hpo.tasks.splits import shared_out, standardized
from hpo.tasks.task import Task


@tasks("mnist")
class Mnist(FileTask):
    """MNIST, Fashion-MNIST or others like them, from a folder with their four IDX files, plain or gzipped.

    `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`. Those of
    `t10k` test. Pixels are standardized by those of the training images.
    """

    val: float = Field(0.1, gt=0, lt=1, description="share of the training images that validates")
    split_seed: int = Field(0, ge=0, description="which images train and validate; no trial's seed changes it")

    def files(self) -> tuple[Path, ...]:
        return tuple(
            find_idx(Path(self.path), f"{part}-{what}")
            for part in ("train", "t10k")
            for what in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )

    def process(self) -> Task:
        (images, labels), (test_images, test_labels) = (self._read(part) for part in ("train", "t10k"))
        train, val, _ = shared_out(labels, self.split_seed, self.val, test=0.0)
        if len(np.unique(labels)) == 1:
            raise UserError(f"task.path: all training labels are {labels[0]}; one class only leaves nothing to learn")
        x, x_val, x_test = standardized(images[train], images[val], test_images, axis=(0, 1, 2, 3))
        return Task((x, labels[train]), (x_val, labels[val]), (x_test, test_labels), metrics=("accuracy", "f1"))

    def _read(self, part: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Images (N, 1, H, W) and classes (N,)."""
        images = read_idx(find_idx(Path(self.path), f"{part}-images-idx3-ubyte"), 3)
        labels = read_idx(find_idx(Path(self.path), f"{part}-labels-idx1-ubyte"), 1)
        if len(images) != len(labels):
            raise UserError(f"task.path: {part} has {len(images)} images and {len(labels)} labels")
        return images[:, None], labels.astype(np.int64)
