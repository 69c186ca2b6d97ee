"""Optimizers, one file an entry, registered with `@optimizers(...)`.

An entry builds a rule that moves parameters by one step at a learning rate it is handed; it reads no schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hpo.registry import Entry, Registry
from hpo.training.rules import Rule

if TYPE_CHECKING:
    from torch import nn


class Optimizer(Entry):
    """How gradients move parameters. Every entry has the highest learning rate and weight decay."""

    lr: float = Field(1e-3, gt=0, description="highest learning rate; the schedule multiplies it")
    weight_decay: float = Field(0.0, ge=0, description="pull of every parameter towards 0")

    def build(self, parameters: list[nn.Parameter]) -> Rule:
        """A fresh rule over `parameters`, all of which require gradients."""
        raise NotImplementedError


optimizers: Registry[Optimizer] = Registry("optimizer", "hpo.training.optimizers")
