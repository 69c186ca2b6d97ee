"""One trial's checkpoint on disk: whole or not there, and safe to load."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import UserError
from hpo.lazy import torch

log = logging.getLogger("hpo.training")


class CheckpointFile:
    """A file that holds the last saved state. Its folder is made at the first save.

    The file is replaced in one move after its bytes have reached the disk, so a process that dies while saving leaves
    the one before. It is loaded with `weights_only=True`: a file made by someone else can run no code.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def save(self, state: Mapping[str, Any]) -> bool:
        """Whether it was written; a disk that is full or gone is logged and leaves the checkpoint before.

        Raises UserError for a state that `load` would refuse.
        """
        _check_plain("state", state)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(fresh, "wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
            log.warning("checkpoint %s was not written, training goes on without it: %s", self.path, error)
            with contextlib.suppress(OSError):
                fresh.unlink()
            return False
        return True

    def load(self) -> dict[str, Any] | None:
        """The last saved state with its tensors on the CPU; None, with a line in the log, if it cannot be read."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            # whatever is wrong with the bytes, the trial can still start at the beginning
            log.warning("checkpoint %s cannot be read, the trial starts at its beginning: %s", self.path, error)
            return None
        return state

    def remove(self) -> None:
        """Delete the file; harmless when there is none."""
        self.path.unlink(missing_ok=True)


def _check_plain(where: str, value: Any) -> None:
    """Only what weights-only loading takes back."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            if not isinstance(key, str | int | float | bool | tuple):
                raise UserError(f"trial.checkpoint: a key of {where} is a {type(key).__name__}; use text or numbers")
            _check_plain(f"{where}[{key!r}]", below)
    elif isinstance(value, list | tuple | set):
        for index, below in enumerate(value):
            _check_plain(f"{where}[{index}]", below)
    elif type(value) not in _PLAIN and not isinstance(value, torch.Tensor | torch.dtype | torch.device):
        raise UserError(
            f"trial.checkpoint: {where} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be "
            "loaded safely; save tensors, numbers, text, and lists and mappings of them"
        )


_PLAIN = {int, float, bool, complex, str, bytes, type(None)}
