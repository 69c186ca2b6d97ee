"""Where the files of a study's trials lie: one log and, while it is in flight, one checkpoint each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrialFiles:
    """A folder for one study, beside its database; named by study and id, so that a deleted study's are never taken
    for those of a new one of the same name."""

    folder: str

    @classmethod
    def beside(cls, place: Path, study: str, identity: str) -> TrialFiles:
        """The folder of a study below `place` (the database's folder, or the working directory for a server)."""
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in study)
        return cls(str(place / "hpo-trials" / f"{safe}-{identity[:8]}"))

    def log(self, number: int) -> Path:
        """The log of trial `number`: its prints, warnings and traceback, all attempts."""
        return Path(self.folder) / f"{number}.log"

    def log_text(self, number: int) -> str:
        """The same as text, for the study."""
        return str(self.log(number))

    def checkpoint(self, number: int) -> Path:
        """The checkpoint of trial `number`."""
        return Path(self.folder) / f"{number}.pt"
