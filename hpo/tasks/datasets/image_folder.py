"""The task `image_folder`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from hpo.errors import NotFound, UserError, nearest
from hpo.tasks.from_files import FileTask
from hpo.tasks.pictures import Color, image_files, read_images
from hpo.tasks.registries import tasks
from hpo.tasks.splits import shared_out, standardized
from hpo.tasks.task import Task

Array = np.ndarray[Any, Any]

PARTS = ("train", "val", "test")


@tasks("image_folder")
class ImageFolder(FileTask):
    """Images of yours, a folder a class: `cats/1.png`, or `train/cats/1.png` beside `val` and `test`.

    Without a `val` folder some of the training images validate; with a `train` folder only a `test` folder tests.
    Pixels are standardized by those of the training images, each channel by itself. Needs Pillow (`hpo[images]`).
    """

    size: int | None = Field(
        None, ge=1, description="both sides of an image, cut from its middle; needed where they are not all alike"
    )
    color: Color = Field("rgb", description="three channels or one")
    val: float = Field(0.2, gt=0, lt=1, description="share that validates, where there is no val folder")
    test: float = Field(0.2, ge=0, lt=1, description="share that tests, where there is no train folder; 0: none does")
    split_seed: int = Field(0, ge=0, description="which train, validate and test; no trial's seed changes it")

    def process(self) -> Task:
        root = Path(self.path)
        if not root.is_dir():
            raise UserError(f"task.path: {root} is a file; image_folder needs a folder with a folder for each class")
        names, files, y_N, given = _found(root)
        x = read_images(files, root, self.size, self.color)
        parts = self._parts(y_N, given, names)
        xs = standardized(*(x[part] for part in parts), axis=(0, 2, 3))
        train, val, *test = ((x, y_N[part]) for x, part in zip(xs, parts, strict=True))
        notes = (
            [f"classes: {', '.join(f'{i} is {name!r}' for i, name in enumerate(names))}"] if len(names) <= 20 else []
        )
        return Task(train, val, test[0] if test else None, metrics=("accuracy", "f1"), notes=notes)

    def _parts(self, y_N: Array, given: Array, names: list[str]) -> list[Array]:
        """Indices of the images of train, val and, if there are any, test. given: index into PARTS, -1 for no part."""
        if (given == -1).all():
            return [part for part in shared_out(y_N, self.split_seed, self.val, self.test, names) if len(part)]
        train, val, test = (np.flatnonzero(given == i) for i in range(3))
        if not len(val):
            ours, theirs, _ = shared_out(y_N[train], self.split_seed, self.val, 0.0, names)
            train, val = train[ours], train[theirs]
        return [train, val, *([test] if len(test) else [])]


def _found(root: Path) -> tuple[list[str], list[Path], Array, Array]:
    """Names of the classes, image files, their classes, and the part each lies in. Raises UserError."""
    tops = {part: root / part for part in PARTS if (root / part).is_dir()} if (root / "train").is_dir() else {"": root}
    names = _classes(next(iter(tops.values())))
    files, classes, given = [], [], []
    for part, top in tops.items():
        for folder in _classes(top, 1):
            if folder not in names:
                near = nearest(folder, names)
                question = f"; did you mean {near!r}?" if near else ""
                raise UserError(f"task.path: class {folder!r} of {part} is not among those of train{question}")
            own = image_files(top / folder)
            if not own:
                raise UserError(f"task.path: folder {(top / folder).relative_to(root)} holds no images")
            files += own
            classes += [names.index(folder)] * len(own)
            given += [PARTS.index(part) if part else -1] * len(own)
    return names, files, np.array(classes, np.int64), np.array(given, np.int64)


def _classes(top: Path, fewest: int = 2) -> list[str]:
    names = sorted(one.name for one in top.iterdir() if one.is_dir() and not one.name.startswith("."))
    if not names:
        raise NotFound(f"task.path: {top} has no folders; each class needs one with its images")
    if len(names) < fewest:
        raise UserError(f"task.path: {top} has one class only ({names[0]!r}); a classifier needs two")
    return names
