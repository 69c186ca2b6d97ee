"""Metrics, one file an entry, registered with `@metrics(...)`; those here are computed by torchmetrics.

A metric reads scores and targets of a whole split once; it never takes part in training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hpo.registry import Entry, Registry

if TYPE_CHECKING:
    from torch import Tensor


class Metric(Entry):
    """One number about a split, reported as `val_<name>`.

    Facts: `direction` says what is better, `classes` that targets are integer classes (otherwise floats).
    """

    direction: ClassVar[Literal["maximize", "minimize"]]
    classes: ClassVar[bool]

    def value(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        """A 0-D tensor on the scores' device; nothing is moved to the host."""
        raise NotImplementedError


metrics: Registry[Metric] = Registry("metric", "hpo.training.metrics")
