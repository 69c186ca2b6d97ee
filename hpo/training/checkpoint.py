"""A trial's checkpoints: whole or not there, safe to load, and never replaced by an older attempt's."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from hpo.encryption import HEAD, Locked, check_head, encrypting, opened
from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.places import HALF_WRITTEN, Place, place_at

log = logging.getLogger("hpo.training")

EVERY = 10.0  # seconds: what a dead process costs at most, at the price of a file now and then
KEEP = 1  # the winner's weights are at hand when the sweep ends, for two files of disk: its own and the last one's

HELD = f".held{HALF_WRITTEN}"
"""What the name of a state ends in that must not be gone on from yet."""

_NAME = re.compile(r"(\d+)\.(\d+)\.pt")


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds. step: of the last report before it; state: its tensors lie on the CPU."""

    step: int
    state: dict[str, Any]


class CheckpointFile:
    """A file that holds the last saved state. path: on a disk, or a URL of fsspec's.

    The file is replaced in one move after its bytes have reached the disk, so a process that dies while saving leaves
    the one before. It is loaded with `weights_only=True`: a file made by someone else can run no code. It is encrypted
    where this process has a key (`hpo.encryption`); one that is not encrypted loads all the same.
    A state may be held: it is written, but `load` does not see it until `settle` or the next `save`.
    trouble: why a state could not be written, the first time; only that time is logged. stands: whether one that was
    saved here can be loaded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        folder, slash, name = os.fspath(path).rpartition("/")
        self._place, self._name = place_at(folder or slash or "."), name
        self._held = False
        self.stands = False
        self.trouble: str | None = None

    @classmethod
    def at(cls, place: Place, name: str) -> CheckpointFile:
        """The file `name` in `place`."""
        file = cls(name)
        file._place = place
        return file

    @property
    def where(self) -> str:
        """Where it lies, for people."""
        return self._place.shown(self._name)

    def save(self, state: Mapping[str, Any], step: int = 0, hold: bool = False) -> bool:
        """Whether it was written; a place that is full, gone or forbidden leaves the checkpoint before.

        Raises UserError for a state that `load` would refuse.
        """
        _check_plain("state", state)

        def fill(file: BinaryIO) -> None:
            with encrypting(file) as stream:
                torch.save({"step": step, "state": dict(state)}, stream)

        self.settle()
        try:
            self._place.write(self._name + HELD if hold else self._name, fill)
        except OSError as error:
            self._note(error)
            return False
        self._held = hold
        self.stands = self.stands or not hold
        return True

    def settle(self) -> None:
        """Let a held state take its place; nothing where none is held."""
        if not self._held:
            return
        self._held = False
        try:
            self._place.move(self._name + HELD, self._name)
        except OSError as error:
            self._note(error)
        else:
            self.stands = True

    def _note(self, error: OSError) -> None:
        if self.trouble is None:
            self.trouble = f"{self.where}: {error}"
            log.warning("checkpoint %s was not written, training goes on without it: %s", self.where, error)

    def read(self) -> Saved | None:
        """What was saved last; None, with a line in the log, if it cannot be read.

        Raises Locked for one that is encrypted and cannot be opened: to start anew would throw it away.
        """
        try:
            with self._place.read(self._name) as file:
                found = torch.load(opened(file, self.where), map_location="cpu", weights_only=True)
            return Saved(found["step"], found["state"])
        except FileNotFoundError:
            return None
        except Locked:
            raise
        except Exception as error:
            # whatever is wrong with the bytes, the trial can still start at the beginning
            log.warning("checkpoint %s cannot be read, the trial starts without it: %s", self.where, error)
            return None

    def load(self) -> dict[str, Any] | None:
        """The last saved state; None as in `read`, which says what is raised."""
        saved = self.read()
        return None if saved is None else saved.state


class TrialCheckpoints:
    """The checkpoints of one attempt at a trial: it goes on from the newest that earlier attempts left.

    Each attempt writes a file of its own, so a process that was given up but still trains replaces nothing of those
    after it. before: called before each save; False lets the save be. saves: how many were written by this attempt.
    """

    def __init__(self, place: Place, number: int, attempt: int, before: Callable[[], bool] = lambda: True) -> None:
        self._place, self._number, self._attempt, self._before = place, number, attempt, before
        self._mine = CheckpointFile.at(place, file_name(number, attempt))
        self._from_step = 0
        self._older: list[str] = []
        self.saves = 0
        self.where: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why a checkpoint could not be written, the first time."""
        return self._mine.trouble

    def save(self, state: Mapping[str, Any], step: int, hold: bool = False) -> bool:
        """Whether it was written, held or not, as CheckpointFile says. `step`: of the last report."""
        if not self._before() or not self._mine.save(state, max(step, self._from_step), hold):
            return False
        self.saves += 1
        if not hold:
            self.settle()
        return True

    def settle(self) -> None:
        """Let a held state take its place, and those of earlier attempts go, since it has gone further."""
        self._mine.settle()
        if self._mine.stands:
            self.where = self._mine.where
            while self._older:
                remove(self._place, self._older.pop())

    def load(self) -> dict[str, Any] | None:
        """The state of the furthest checkpoint of the attempts before; None if there is none that can be read.

        Raises Locked where one is encrypted and cannot be opened.
        """
        best: tuple[int, int] | None = None
        state = None
        for name in names(self._place) if self._attempt > 1 else ():
            number, attempt = read_name(name) or (-1, -1)
            if number != self._number or attempt >= self._attempt:
                continue
            file = CheckpointFile.at(self._place, name)
            saved = file.read()
            self._older.append(name)
            if saved is not None and (best is None or (saved.step, attempt) > best):
                best, state, self.where = (saved.step, attempt), saved.state, file.where
        self._from_step = best[0] if best is not None else 0
        return state


def file_name(number: int, attempt: int) -> str:
    """The checkpoint's file of one attempt at a trial."""
    return f"{number}.{attempt}.pt"


def read_name(name: str) -> tuple[int, int] | None:
    """Number and attempt of a checkpoint's file; None for any other."""
    found = _NAME.fullmatch(name)
    return None if found is None else (int(found[1]), int(found[2]))


def remove(place: Place, name: str) -> None:
    """Delete a file; what cannot be deleted now is logged and left."""
    try:
        place.remove(name)
    except OSError as error:
        log.warning("checkpoint %s was not deleted: %s", place.shown(name), error)


def names(place: Place) -> list[str]:
    """What lies in a place; nothing, and a line in the log, when that cannot be said now."""
    try:
        return place.names()
    except OSError as error:
        log.warning("the checkpoints in %s cannot be listed and count as none: %s", place.shown(), error)
        return []


def check_opens(place: Place, numbers: Collection[int]) -> None:
    """Raise Locked when a checkpoint of one of these trials is encrypted and its key is not that of this process.

    Only the start of each file is looked at; what cannot be read now is left to who goes on from it.
    """
    for name in names(place) if numbers else ():
        number, _ = read_name(name) or (-1, -1)
        if number in numbers:
            with contextlib.suppress(OSError):
                check_head(place.start(name, HEAD), f"checkpoints: trial {number} cannot go on: {place.shown(name)}")


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
