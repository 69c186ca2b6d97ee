"""Metrics, one file an entry, registered with `@metrics(...)`; torchmetrics is what the tests compare them with.

A metric reads scores and targets of a whole split once; it never takes part in training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hpo.registry import Entry, Registry

if TYPE_CHECKING:
    from torch import Tensor


class Metric(Entry):
    """One number about a split, reported as `val_<label>`, or `val_<name>` where it has no label.

    Facts: `direction` says what is better, `classes` that targets are integer classes (otherwise floats), `counts` that
    it is a share of examples, which one of them moves by about 1/N, `packable` that `value` can be mapped over the
    members of a pack, `reason` why not.
    """

    direction: ClassVar[Literal["maximize", "minimize"]]
    classes: ClassVar[bool]
    counts: ClassVar[bool] = False
    packable: ClassVar[bool] = True
    reason: ClassVar[str] = ""
    label: str | None = Field(
        None,
        pattern="^[a-z][a-z0-9_]*$",
        description="what it is reported as after val_; its own name without one. Needed where a metric is used twice",
    )

    @property
    def reported(self) -> str:
        """What it is reported as, after `val_`."""
        return self.label or self.name

    def fits(self, outputs: int) -> None:
        """Raises ValueError when it cannot be computed for so many scores an example."""

    def value(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        """A 0-D tensor on the scores' device; nothing is moved to the host, and nothing hangs on a value there."""
        raise NotImplementedError


metrics: Registry[Metric] = Registry("metric", "hpo.training.metrics")
