"""The rows of a batch that one worker of a trial computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpo.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.config import TrainingConfig


def check_shared(config: TrainingConfig) -> None:
    """Raises UserError for a config that several workers cannot train together."""
    if config.privacy.on:
        raise UserError("trial.workers: must be 1 beside privacy, which clips the gradient of each example by itself")
    if config.compile:
        raise UserError("trial.workers: must be 1 beside compile: true, which cannot look into what workers exchange")


@dataclass(frozen=True)
class Shard:
    """`count` rows of a batch of `whole`, from `first` on.

    counts: false where there are fewer rows than workers and this one computes a row that is another's, since all of
    them have to go through the network.
    """

    first: int
    count: int
    whole: int
    counts: bool = True

    @classmethod
    def of(cls, rank: int, size: int, whole: int) -> Shard:
        """That of one of `size` workers; they differ by one row at most."""
        first, last = whole * rank // size, whole * (rank + 1) // size
        if first == last:
            return cls(0, 1, whole, counts=False)
        return cls(first, last - first, whole)

    def rows(self, x_B: Tensor) -> Tensor:
        """The rows of this worker."""
        return x_B.narrow(0, self.first, self.count)

    def drawn(self, draw: Callable[[Sequence[int]], Tensor], shape: Sequence[int]) -> Tensor:
        """What `draw` gives for the whole batch, cut down to the `shape` that is wanted here.

        Its first dimension is the batch, or the batch times something (the heads of an attention). Where it is neither,
        the draw is of `shape` itself, the same on every worker.
        """
        times, rest = divmod(shape[0], self.count) if shape else (0, 1)
        if rest or not times:
            return draw(shape)
        return draw((self.whole * times, *shape[1:])).narrow(0, self.first * times, self.count * times)
