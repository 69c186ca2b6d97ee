"""Image files as arrays of one size, by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hpo.errors import UserError
from hpo.tasks.bar import Bar
from hpo.tasks.content import all_files

Color = Literal["rgb", "gray"]


def image_files(folder: Path) -> list[Path]:
    """The files below `folder` that are called as images are, in one order on every machine; no hidden ones."""
    endings = set(_pillow().registered_extensions())
    return [file for file in all_files(folder) if file.suffix.lower() in endings]


def read_images(files: Sequence[Path], root: Path, size: int | None, color: Color) -> np.ndarray[Any, Any]:
    """(N, C, H, W) as uint8, upright as the camera says. size: of both sides, from the middle of the image; None: as
    they are, which must be alike.

    Raises UserError naming the file, below `root`, that cannot be read or has another size than the first.
    """
    images: np.ndarray[Any, Any] | None = None
    with Bar("reading images", len(files)) as bar:
        for i, file in enumerate(files):
            pixels_CHW = _read(file, file.relative_to(root), size, color)
            if images is None:
                images = np.empty((len(files), *pixels_CHW.shape), np.uint8)
            if pixels_CHW.shape != images.shape[1:]:
                first, other = (_size(shape) for shape in (images.shape, pixels_CHW.shape))
                raise UserError(
                    f"task.size: images are of mixed sizes, {files[0].relative_to(root)} is {first} and "
                    f"{file.relative_to(root)} is {other}",
                    hint="size: 32  makes all of them 32x32",
                )
            images[i] = pixels_CHW
            bar()
    assert images is not None
    return images


def _size(shape: Sequence[int]) -> str:
    return f"{shape[-1]}x{shape[-2]}"


def _read(file: Path, name: Path, size: int | None, color: Color) -> np.ndarray[Any, Any]:
    """(C, H, W)."""
    from PIL import ImageOps

    pillow = _pillow()
    try:
        with pillow.open(file) as opened:
            image = _of_bytes(ImageOps.exif_transpose(opened), name)
            image = image.convert("RGB" if color == "rgb" else "L")
            if size is not None:
                image = ImageOps.fit(image, (size, size), pillow.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).replace(str(file), file.name).split())
        raise UserError(f"task.path: image {name} cannot be read: {reason[:150]}") from None
    return pixels[None] if color == "gray" else pixels.transpose(2, 0, 1)


def _of_bytes(image: Any, name: Path) -> Any:
    """The same with at most eight bits a number: Pillow would make 255 of whatever is larger."""
    if image.mode.startswith("I;16"):
        return _pillow().fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "floats" if image.mode == "F" else "whole numbers of 32 bits"
        raise UserError(
            f"task.path: image {name} holds {kind}, of which nobody knows the range; save it with 8 or 16 bits"
        )
    return image


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise UserError("task: image_folder needs Pillow", hint="pip install 'hpo[images]'") from None
    return Image
