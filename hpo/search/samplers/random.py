"""Random search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from hpo.search.samplers import Sampler, samplers
from hpo.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers("random")
class Random(Sampler):
    """Every parameter drawn by itself, uniformly or log-uniformly (Bergstra & Bengio 2012)."""

    @override
    def make(self, seed: int, space: Space) -> BaseSampler:
        """Optuna's RandomSampler."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)
