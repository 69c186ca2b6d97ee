"""What stands in an export: all it takes to train a trial again, and a digest of itself.

The full configuration, what is trained (with the digest of its code), the seed, the threads, and the value to compare
with. A value that the sweep takes from the environment stays `${env:NAME}` in it, so no secret lies there.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hpo import __version__
from hpo.errors import UserError
from hpo.schema import Frozen, check
from hpo.search import attributes
from hpo.search.company import company
from hpo.sweep.reading import read_file

FORMAT = 1


class ExportedObjective(Frozen):
    """Which number the value is. step: of the report that gave it, None for what the function returned."""

    metric: str
    direction: Literal["maximize", "minimize"]
    at: Literal["last", "best"]
    step: int | None = None

    @property
    def until(self) -> int | None:
        """The step to stop at for this number; None: the end."""
        return self.step if self.at == "best" else None


class Exported(Frozen):
    """The content of an export."""

    format: int = Field(description="version of this file's form")
    study: str
    trial: int
    objective: ExportedObjective
    value: float
    packed: bool = Field(
        False, description="whether it was trained in a pack: a solo run's numbers to a tolerance only"
    )
    workers: int = Field(
        1, ge=1, description="the most processes that trained it together: one's numbers to a tolerance only"
    )
    value_in_study: float | None = Field(
        None, description="the study's own number, where `value` is of the trial trained again by itself"
    )
    sweep: dict[str, Any] = Field(description="what is trained: task or train, plugins, base")
    params: dict[str, Any] = Field(description="what the trial's parameters set, by path")
    config: dict[str, Any] = Field({}, description="the full TrainingConfig; empty for a user's own loop")
    code: dict[str, str] = Field({}, description="digests of the code files it rests on")
    folder: str = Field(description="where the user's modules are looked for")
    seed: int
    threads: int = Field(ge=1)
    device: str
    versions: dict[str, str]
    digest: str

    @property
    def verified(self) -> bool:
        """Whether the value is of a training of this trial alone, after the study."""
        return self.value_in_study is not None

    @property
    def exact(self) -> bool:
        """Whether the trial by itself gives the value bit for bit."""
        return self.verified or self.company is None

    @property
    def company(self) -> str | None:
        """`in a pack`, `by 2 workers`; None for a trial that was trained by one process by itself."""
        return company({attributes.PACKED: self.packed, attributes.WORKERS: self.workers})

    @property
    def threads_text(self) -> str:
        """`1 thread`."""
        return f"{self.threads} thread{'s' if self.threads != 1 else ''}"

    @property
    def shown_value(self) -> str:
        """`val_accuracy 0.991667`."""
        return f"{self.objective.metric} {self.value:.6g}"


def signed(content: Mapping[str, Any]) -> Exported:
    """An export of this content, with its digest."""
    draft = check(Exported, {**content, "digest": ""})
    return draft.model_copy(update={"digest": digest_of(draft.model_dump())})


def versions() -> dict[str, str]:
    """Of what computes, here and now."""
    from importlib.metadata import version

    return {"hpo": __version__, "torch": version("torch"), "python": platform.python_version()}


def digest_of(content: Mapping[str, Any]) -> str:
    """Digest of an export's content, its own digest left out."""
    plain = {key: value for key, value in content.items() if key != "digest"}
    return blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16).hexdigest()


def read_export(path: str | Path) -> Exported:
    """The export at `path`. Raises UserError for a file of another form or version, or one that was altered."""
    content = read_file(Path(path))
    if "format" not in content:
        raise UserError(f"{path} is no export: it has no format; `hpo export NAME -o best.yaml` writes one")
    if content["format"] != FORMAT:
        raise UserError(f"{path}: format {content['format']!r} is not known; this hpo ({__version__}) reads {FORMAT}")
    if digest_of(content) != content.get("digest"):
        raise UserError(
            f"{path} was altered since it was exported (its digest does not fit its content)",
            hint=f"to change a value give it to the command: hpo train {path} epochs=100",
        )
    try:
        return check(Exported, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
