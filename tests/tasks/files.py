"""Small data files as users have them, real ones where scikit-learn brings some; and the task on each."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from hpo.tasks import TaskEntry, tasks


def wine() -> pd.DataFrame:
    """178 wines: numbers with holes, a column of texts, and the cultivar as text."""
    table = load_wine(as_frame=True).frame
    random = np.random.default_rng(0)
    table["cultivar"] = table.pop("target").map({0: "barolo", 1: "grignolino", 2: "barbera"})
    depth = pd.cut(table.pop("color_intensity"), [0, 3, 5, 20], labels=["pale", "medium", "deep"])
    table["depth"] = depth.astype(object)
    for name in ("alcohol", "ash", "depth"):
        table.loc[random.random(len(table)) < 0.1, name] = None
    return table


def write_table(folder: Path) -> dict[str, Any]:
    """`wine.csv`."""
    wine().to_csv(folder / "wine.csv", index=False)
    return {"path": str(folder / "wine.csv"), "target": "cultivar"}


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """Bytes as an IDX file."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(folder: Path) -> dict[str, Any]:
    """Digits in the four files of MNIST, two of them gzipped."""
    pixels, classes = load_digits(return_X_y=True)
    images = (pixels * 15).reshape(-1, 8, 8)
    for part, rows in (("train", slice(0, 1200)), ("t10k", slice(1200, None))):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images[rows]))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(classes[rows])))
    return {"path": str(folder)}


def write_images(folder: Path) -> dict[str, Any]:
    """Threes and fives as PNG files, a folder each."""
    pixels, classes = load_digits(return_X_y=True)
    for name, digit in (("three", 3), ("five", 5)):
        (folder / name).mkdir()
        for i, image in enumerate(pixels[classes == digit][:60]):
            Image.fromarray((image * 15).reshape(8, 8).astype(np.uint8)).save(folder / name / f"{i}.png")
    return {"path": str(folder)}


def write_npz(folder: Path) -> dict[str, Any]:
    """Wine as arrays."""
    x, y = load_wine(return_X_y=True)
    np.savez(folder / "wine.npz", x=x, y=y)
    return {"path": str(folder / "wine.npz")}


WRITERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "tabular": write_table,
    "mnist": write_idx,
    "image_folder": write_images,
    "npz": write_npz,
}


def entry_in(folder: Path, name: str, **options: Any) -> TaskEntry:
    """The task called `name`, on files written to `folder` where it needs any."""
    folder.mkdir(exist_ok=True)
    given = WRITERS[name](folder) if name in WRITERS else {}
    return tasks.parse({"name": name, **given, **options})
