"""What a step computes where several workers train one network: each its rows of the batch, by DistributedDataParallel.

Whatever is drawn is drawn for the whole batch, and statistics of batch norms are those of the whole batch, so that the
numbers are those of one process with the same batches, but for the order in which sums are added up.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from hpo.training.compute import Computing, Piece
from hpo.training.randomness import Number
from hpo.training.shard import Shard
from hpo.training.slots import Compute, Gradients, Now, Weights
from hpo.training.team import Team


class SharedComputing(Computing):
    """Forward and backward over the rows of one worker; the gradients are those of the whole batch.

    At the network's own weights DistributedDataParallel averages them while they are computed; at other weights (SAM's
    second pass) they are averaged afterwards, in one message. The loss that comes with them is this worker's part of
    the batch's: the sum over all workers is the batch's own.
    """

    team: Team
    weigh: Callable[[Tensor], Tensor | float]

    def join(self, team: Team, weigh: Callable[[Tensor], Tensor | float]) -> None:
        """Be one of a team; before the first step. weigh: Loss.weight."""
        self.team, self.weigh = team, weigh
        self.norms = BatchNorms(team)
        self.alone, self.is_last, self.is_wrapped = self.forward, True, False

    def at(self, x_B: Tensor, y_B: Tensor, now: Now) -> Compute:
        """See Computing; x_B and y_B are the whole batch, on every worker."""
        if not self.is_wrapped:
            self.forward, self.is_wrapped = self._wrapped(x_B, y_B, now), True
        compute = super().at(x_B, y_B, now)

        def together(weights: Weights) -> tuple[Tensor, Gradients]:
            with self.norms.installed():
                return compute(weights)

        return together

    def _wrapped(self, x_B: Tensor, y_B: Tensor, now: Now) -> DistributedDataParallel:
        """The network in DistributedDataParallel, which must be told whether it may wait for every weight's gradient.

        One step at a copy of the weights tells it; nothing of the step is left.
        """
        missing = torch.zeros((), device=x_B.device)
        copies = dict(self.weights)  # another mapping: other weights, as Computing sees it
        with torch.random.fork_rng(devices=[x_B.device] if x_B.is_cuda else []), self.norms.installed():
            forward, leaves = self._forward_at(copies)
            with self.masks.of(now), self._shard_of(y_B, now) as shard, self.masks.forward(), self.autocast():
                value = self.loss(forward(shard.rows(x_B)), shard.rows(y_B), shard.rows(x_B), self.smoothing(now))
        value = self.penalty(leaves, value, now)
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        missing += sum(gradient is None for gradient in found)
        own = {name for name, _ in self.net.named_buffers()} - _counted(self.net)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 has a new name for what 2.11 calls buffers
            return DistributedDataParallel(
                self.alone,
                broadcast_buffers=bool(own),  # those of batch norms are the same everywhere
                find_unused_parameters=bool(self.team.total(missing)),
            )

    @contextmanager
    def _shard_of(self, y_b: Tensor, now: Now) -> Iterator[Shard]:
        """This worker's rows of a piece, known to all that is drawn or counted meanwhile."""
        shard = Shard.of(self.team.rank, self.team.size, len(y_b))
        now.draws.shard = self.norms.shard = shard
        try:
            yield shard
        finally:
            now.draws.shard = self.norms.shard = None

    def _pieces(self, x_B: Tensor, y_B: Tensor) -> Iterator[Piece]:
        pieces = list(super()._pieces(x_B, y_B))
        for i, piece in enumerate(pieces):
            self.is_last = i == len(pieces) - 1
            yield piece

    def _backward(self, forward: Any, weights: Weights, piece: Piece, smoothing: Number, now: Now) -> Tensor:
        x_b, y_b, share, penalty = piece
        with self._shard_of(y_b, now) as shard, self._waiting(forward):
            x, y = shard.rows(x_b), shard.rows(y_b)
            with self.masks.forward(), self.autocast():
                value = self.loss(forward(x), y, x, smoothing)
            part = value * (share * self.weigh(y) / self.weigh(y_b) if shard.counts else 0.0)
            # averaged over the workers it is the sum of the parts, and the penalty once
            self.scaler.backward(penalty(weights, part * self.team.size, now))
        return part.detach()

    def _waiting(self, forward: Any) -> AbstractContextManager[Any]:
        """Gradients of all pieces but the last are added up here before they travel."""
        return nullcontext() if self.is_last or forward is not self.forward else forward.no_sync()

    @torch.no_grad()
    def _join(self, weights: Weights) -> None:
        if weights is self.weights:
            return
        there = torch.tensor([weight.grad is not None for weight in weights.values()], dtype=torch.float32)
        grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights.values()]
        total = self.team.total(torch.cat([*(g.flatten() for g in grads), there.to(grads[0].device)]))
        sizes = [g.numel() for g in grads]
        *parts, there = torch.split(total / self.team.size, [*sizes, len(sizes)])
        for weight, part, is_there in zip(weights.values(), parts, there.tolist(), strict=True):
            weight.grad = part.view_as(weight) if is_there else None


def _counted(net: nn.Module) -> set[str]:
    """The names of the buffers in which batch norms keep their statistics."""
    norms = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return {f"{name}.{buffer}".lstrip(".") for name, m in norms for buffer, _ in m.named_buffers(recurse=False)}


class BatchNorms:
    """torch's batch norm with the statistics of the whole batch, on a CPU too, where SyncBatchNorm has none.

    shard: of the batch that passes through the network now; its rows are the first dimension, or it times something.
    """

    def __init__(self, team: Team) -> None:
        self.team = team
        self.shard: Shard | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """torch's function replaced."""
        self._native = functional.batch_norm
        functional.batch_norm = self.batch_norm
        try:
            yield
        finally:
            functional.batch_norm = self._native

    def batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """torch.nn.functional's."""
        shard = self.shard
        if not training or shard is None:
            return self._native(input, running_mean, running_var, weight, bias, training, momentum, eps)
        over = [0, *range(2, input.dim())]
        like = [1, -1, *[1] * (input.dim() - 2)]
        count = input.numel() // input.shape[1] * shard.whole // shard.count
        if count < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        x = input.float()
        mean_C = self._sum(x.sum(over)) / count
        centred = x - mean_C.view(like)
        var_C = self._sum(centred.square().sum(over)) / count
        with torch.no_grad():
            if running_mean is not None:
                running_mean.lerp_(mean_C.to(running_mean.dtype), momentum)
            if running_var is not None:
                running_var.lerp_((var_C * (count / (count - 1))).to(running_var.dtype), momentum)
        scale_C = (var_C + eps).rsqrt()
        if weight is not None:
            scale_C = scale_C * weight
        found = centred * scale_C.view(like)
        return (found if bias is None else found + bias.view(like)).to(input.dtype)

    def _sum(self, mine_C: Tensor) -> Tensor:
        assert self.shard is not None
        total: Tensor = _Sum.apply(mine_C if self.shard.counts else mine_C * 0.0, self.team)  # type: ignore[no-untyped-call]
        return total


class _Sum(torch.autograd.Function):
    """The sum over all workers. Each of them has a loss that hangs on it, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, team: Team) -> Tensor:
        ctx.team = team
        return team.total(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.team.total(gradient.contiguous()), None
