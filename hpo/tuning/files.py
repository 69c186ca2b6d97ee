"""Where the files of a study's trials lie: one log each, and the checkpoints of those in flight and those kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from hpo.training import checkpoint
from hpo.training.checkpoint import EVERY, KEEP
from hpo.training.places import HALF_WRITTEN, Place, place_at


@dataclass(frozen=True)
class TrialFiles:
    """A folder for one study, beside its database; named by study and id, so that a deleted study's are never taken
    for those of a new one of the same name.

    folder: of the logs. checkpoints: a folder or URL. every: seconds from one checkpoint of a trial to the next.
    keep: how many of the best trials keep their last checkpoint.
    """

    folder: str
    checkpoints: str
    every: float = EVERY
    keep: int = KEEP

    @classmethod
    def beside(
        cls,
        place: Path,
        study: str,
        identity: str,
        checkpoints: str | None = None,
        every: float = EVERY,
        keep: int = KEEP,
    ) -> TrialFiles:
        """The files of a study below `place` (the database's folder, or the working directory for a server).

        checkpoints: a folder or URL for those of many studies; None: beside the logs.
        """
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in study)
        own = f"{safe}-{identity[:8]}"
        folder = str(place / "hpo-trials" / own)
        if checkpoints is None:
            return cls(folder, f"{folder}/checkpoints", every, keep)
        return cls(folder, f"{checkpoints.rstrip('/')}/{own}", every, keep)

    def log(self, number: int) -> Path:
        """The log of trial `number`: its prints, warnings and traceback, all attempts."""
        return Path(self.folder) / f"{number}.log"

    def log_text(self, number: int) -> str:
        """The same as text, for the study."""
        return str(self.log(number))

    def place(self) -> Place:
        """Where the checkpoints lie."""
        return place_at(self.checkpoints)

    def clear(self) -> None:
        """Delete every checkpoint of the study: for one that is deleted."""
        place = self.place()
        for name in checkpoint.names(place):
            if checkpoint.read_name(name) is not None or name.endswith(HALF_WRITTEN):
                checkpoint.remove(place, name)

    @staticmethod
    def remove(place: Place, numbers: Collection[int]) -> None:
        """Delete every checkpoint of these trials. What cannot be deleted is logged and left to `tidy`."""
        if numbers:
            for name, (number, _) in _checkpoints(checkpoint.names(place)):
                if number in numbers:
                    checkpoint.remove(place, name)

    @staticmethod
    def tidy(place: Place, ended: Collection[int], kept: Collection[int]) -> None:
        """Delete what dead runs left: half-written files, and the checkpoints of ended trials that are not kept.

        Of a kept trial the last attempt's stays. Nobody may be saving meanwhile: call it between runs.
        """
        names = checkpoint.names(place)
        for name in names:
            if name.endswith(HALF_WRITTEN):
                checkpoint.remove(place, name)
        newest: dict[int, str] = {}
        for name, (number, _) in sorted(_checkpoints(names), key=lambda found: found[1]):
            gone = newest.get(number) if number in kept else name if number in ended else None
            newest[number] = name
            if gone is not None:
                checkpoint.remove(place, gone)


def _checkpoints(names: Iterable[str]) -> list[tuple[str, tuple[int, int]]]:
    """The checkpoints among these files, with number and attempt."""
    return [(name, found) for name in names if (found := checkpoint.read_name(name)) is not None]
