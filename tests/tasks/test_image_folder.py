"""`image_folder`: classes and parts from folders, and a sentence for every folder that cannot be used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpo.errors import UserError
from hpo.tasks import Task, tasks
from tests.tasks.files import write_images


def make(folder: Path, **options: object) -> Task:
    return tasks.parse({"name": "image_folder", "path": str(folder), **options}).make()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """120 images of 8x8 pixels in two classes."""
    found = tmp_path / "images"
    found.mkdir()
    write_images(found)
    (found / "three" / "notes.txt").write_text("no image")
    (found / ".hidden").mkdir()
    return found


def test_a_folder_is_a_class(folder: Path) -> None:
    task = make(folder)
    assert [len(y) for _, (_, y) in task.splits()] == [72, 24, 24]
    assert (task.input_shape, task.outputs) == ((3, 8, 8), 2)
    assert task.notes == ("classes: 0 is 'five', 1 is 'three'",)
    assert np.allclose(task.train[0].mean((0, 2, 3)), 0, atol=1e-6)
    assert [y.mean() for _, (_, y) in task.splits()] == [0.5, 0.5, 0.5]


def test_size_and_color(folder: Path) -> None:
    assert make(folder, color="gray").input_shape == (1, 8, 8)
    assert make(folder, size=5).input_shape == (3, 5, 5)
    Image.new("RGBA", (31, 12), "red").save(folder / "five" / "wide.png")
    assert make(folder, size=8).input_shape == (3, 8, 8)


def test_images_of_16_bits_keep_what_they_show(folder: Path) -> None:
    expected = np.array(make(folder).train[0])
    for file in folder.glob("*/*.png"):
        pixels = np.asarray(Image.open(file).convert("L"))
        Image.fromarray(pixels.astype(np.uint16) * 257).save(file)
    assert np.array_equal(make(folder).train[0], expected)
    Image.fromarray(np.ones((8, 8), np.float32)).save(folder / "five" / "a.tiff")
    with pytest.raises(
        UserError, match=r"^task\.path: image five/a\.tiff holds floats, of which nobody knows the range"
    ):
        make(folder)


def test_folders_called_train_val_and_test_are_the_parts(folder: Path) -> None:
    for part, rows in (("train", range(40)), ("val", range(40, 50)), ("test", range(50, 60))):
        for name in ("three", "five"):
            (folder / part / name).mkdir(parents=True)
            for i in rows:
                (folder / name / f"{i}.png").rename(folder / part / name / f"{i}.png")
    assert [len(y) for _, (_, y) in make(folder).splits()] == [80, 20, 20]
    shutil.rmtree(folder / "val")
    assert [len(y) for _, (_, y) in make(folder).splits()] == [64, 16, 20]
    shutil.rmtree(folder / "test")
    assert [len(y) for _, (_, y) in make(folder).splits()] == [64, 16]
    (folder / "train" / "five").rename(folder / "train" / "fives")
    shutil.copytree(folder / "train" / "three", folder / "val" / "five")
    with pytest.raises(UserError, match=r"^task\.path: class 'five' of val is not among .*; did you mean 'fives'\?$"):
        make(folder)


def _bad(folder: Path) -> None:
    (folder / "five" / "0.png").write_bytes(b"\x89PNG and no more")


def _cut(folder: Path) -> None:
    Image.effect_noise((64, 64), 50).save(folder / "five" / "0.png")
    content = (folder / "five" / "0.png").read_bytes()
    (folder / "five" / "0.png").write_bytes(content[: len(content) // 2])


def _empty(folder: Path) -> None:
    shutil.rmtree(folder / "five")
    (folder / "five").mkdir()


def _few(folder: Path) -> None:
    for i in range(2, 60):
        (folder / "five" / f"{i}.png").unlink()


def _nothing(folder: Path) -> None:
    shutil.rmtree(folder / "three")
    shutil.rmtree(folder / "five")


def _mixed(folder: Path) -> None:
    Image.new("RGB", (9, 7)).save(folder / "three" / "big.png")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no image": (_bad, ".path: image five/0.png cannot be read: "),
    "half an image": (_cut, ".path: image five/0.png cannot be read: "),
    "an empty folder": (_empty, ".path: folder five holds no images"),
    "mixed sizes": (_mixed, ".size: images are of mixed sizes, five/0.png is 8x8 and three/big.png is 9x7"),
    "one class": (
        lambda folder: shutil.rmtree(folder / "three"),
        ".path: {} has one class only ('five'); a classifier",
    ),
    "no folders": (_nothing, ".path: {} has no folders; each class needs one with its images"),
    "two of a class": (_few, ": class 'five' has 2 examples, at least 3 are needed, one each for train, val and test"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_one_sentence(case: str, folder: Path) -> None:
    change, sentence = WRONG[case]
    change(folder)
    with pytest.raises(UserError) as raised:
        make(folder)
    assert str(raised.value).startswith(f"task{sentence.format(folder)}")
    assert "\n" not in str(raised.value)


def test_mixed_sizes_say_what_to_write(folder: Path) -> None:
    _mixed(folder)
    with pytest.raises(UserError) as raised:
        make(folder)
    assert raised.value.hint == "size: 32  makes all of them 32x32"


def test_without_pillow_it_says_what_to_install(folder: Path) -> None:
    code = "import sys; sys.modules['PIL'] = None; from hpo.tasks import tasks; "
    code += f"tasks.parse({{'name': 'image_folder', 'path': {str(folder)!r}}}).make()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("hpo.errors.UserError: task: image_folder needs Pillow")
