"""What a step computes: loss and gradients of one batch, at the network's own weights or at others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hpo.training.compiled import compiled
from hpo.training.dropout import Masks, NativeMasks
from hpo.training.precision import Scaler, autocast
from hpo.training.slots import Compute, Gradients, Now, Penalty, Weights, no_penalty

if TYPE_CHECKING:
    from hpo.training.config import TrainingConfig
    from hpo.training.losses import TrainingLoss
    from hpo.training.randomness import Number
    from hpo.training.team import Team

Piece = tuple[Tensor, Tensor, float, Penalty]
"""Inputs and targets of a part of a batch, its share of the batch, and the penalty that it brings."""


class Computing:
    """Forward and backward over batches of one training, in its precision, with its dropout, piece by piece."""

    def __init__(
        self,
        config: TrainingConfig,
        net: nn.Module,
        weights: Weights,
        loss: TrainingLoss,
        penalty: Penalty,
        scaler: Scaler,
        device: torch.device,
    ) -> None:
        """weights: the trained parameters of `net`."""
        self.net, self.weights, self.loss, self.penalty, self.scaler = net, weights, loss, penalty, scaler
        self.pieces = config.accumulate
        self.smoothing = config.regularization.smoothing
        self.autocast = autocast(config.precision, device)
        self.forward: Any = compiled(net) if config.compile else net
        self.masks: Masks | NativeMasks = NativeMasks() if config.native_dropout else Masks(device, config.compile)

    def join(self, team: Team, weigh: Callable[[Tensor], Tensor | float]) -> None:
        """Be one of a team, before the first step; nothing where there is no other. weigh: Loss.weight."""

    def at(self, x_B: Tensor, y_B: Tensor, now: Now) -> Compute:
        """What the gradient slot calls, as often as it likes; each call is of the same batch and the same masks."""
        smoothing = self.smoothing(now)

        def compute(weights: Weights) -> tuple[Tensor, Gradients]:
            forward, weights = self._forward_at(weights)
            with self.masks.of(now):
                pieces = self._pieces(x_B, y_B)
                values = [self._backward(forward, weights, piece, smoothing, now) for piece in pieces]
            self._join(weights)
            self.scaler.unscale(weights)
            found = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
            for weight in weights.values():
                weight.grad = None
            return (values[0] if len(values) == 1 else torch.stack(values).sum()), found

        return compute

    def _backward(self, forward: Any, weights: Weights, piece: Piece, smoothing: Number, now: Now) -> Tensor:
        """Add the gradients of one piece to those of the weights; its part of the batch's loss."""
        x_b, y_b, share, penalty = piece
        with self.masks.forward(), self.autocast():
            value = self.loss(forward(x_b), y_b, x_b, smoothing)
        value = value if share == 1 else value * share
        self.scaler.backward(penalty(weights, value, now))
        return value.detach()

    def _join(self, weights: Weights) -> None:
        """Where others compute the rest of the batch, make the gradients those of all of it."""

    def _forward_at(self, weights: Weights) -> tuple[Any, Weights]:
        """The network as a function, and the weights as leaves."""
        if weights is self.weights:
            return self.forward, weights
        weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        # what a forward counts (norm statistics) counts once a step, at the weights themselves
        all_of_it = {**weights, **{name: buffer.clone() for name, buffer in self.net.named_buffers()}}
        return lambda x_B: torch.func.functional_call(self.net, all_of_it, (x_B,)), weights

    def _pieces(self, x_B: Tensor, y_B: Tensor) -> Iterator[Piece]:
        """The batch in `accumulate` pieces, each with its share of the batch; the first brings the penalty."""
        if self.pieces == 1:
            yield x_B, y_B, 1.0, self.penalty
            return
        size = -(-len(x_B) // self.pieces)
        parts = zip(torch.split(x_B, size), torch.split(y_B, size), strict=True)
        for i, (x_b, y_b) in enumerate(parts):
            yield x_b, y_b, len(x_b) / len(x_B), no_penalty if i else self.penalty
