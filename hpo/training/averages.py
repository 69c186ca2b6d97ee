"""Averages of weights: a second network that follows the one that is trained, and what an evaluation needs of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hpo.training.evaluation import CHUNK
from hpo.training.randomness import Number
from hpo.training.slots import Average, Now, Weights


class Following:
    """An average that moves by a share of the way to what would be evaluated without it, after each step.

    share(now): of the way, in [0, 1]; 1 is a copy. It alone tells averages apart, and a pack maps it over its members.
    norms: "average" moves floating buffers by the same share; "measure" copies them, and measures the statistics of
    batch norms on the training inputs before an evaluation, where the average is no copy.
    """

    def __init__(self, before: Average, share: Callable[[Now], Number], norms: Literal["average", "measure"]) -> None:
        self.before, self.share, self.norms = before, share, norms
        self.shadow: nn.Module = copy.deepcopy(before.shadow)
        self.shadow.requires_grad_(False)
        self.moved, self.copied = self._parts(self.shadow)
        self.is_copy = True

    @torch.no_grad()
    def update(self, weights: Weights, now: Now) -> None:
        """See Average."""
        self.before.update(weights, now)
        share = float(self.share(now))
        ahead, buffers = self._parts(self.before.shadow)
        torch._foreach_lerp_(self.moved, ahead, share)
        if buffers:
            torch._foreach_copy_(self.copied, buffers)
        self.is_copy = share == 1

    def _parts(self, net: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        """What is moved and what is copied, of one network."""
        moved: list[Tensor] = [*net.parameters()]
        buffers = [*net.buffers()]
        if self.norms == "measure":
            return moved, buffers
        averaged = [b for b in buffers if b.is_floating_point()]
        return moved + averaged, [b for b in buffers if not b.is_floating_point()]

    def settle(self, x_N: Tensor) -> None:
        """See Average."""
        self.before.settle(x_N)
        if self.norms == "measure" and not self.is_copy:
            measure_norms(self.shadow, x_N)

    def state_dict(self) -> dict[str, Any]:
        """See Average."""
        return {"shadow": self.shadow.state_dict(), "before": self.before.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Average."""
        self.shadow.load_state_dict(state["shadow"])
        self.before.load_state_dict(state["before"])


@torch.no_grad()
def measure_norms(net: nn.Module, x_N: Tensor) -> None:
    """Set the running statistics of every batch norm to those of `x_N`, with all else as in an evaluation."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all chunks
        norm.train()
    for x_B in torch.tensor_split(x_N, math.ceil(len(x_N) / CHUNK)):
        net(x_B)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.train()
