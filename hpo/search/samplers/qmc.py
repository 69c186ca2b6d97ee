"""Quasi-Monte Carlo sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from typing_extensions import override

from hpo.search.samplers import Sampler, samplers
from hpo.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers("qmc")
class QMC(Sampler):
    """Points of a low-discrepancy sequence: random search without clumps (Bergstra & Bengio 2012).

    The sequence runs over the parameters of the first trial; the first trial itself is drawn at random.
    """

    learns_branches = False
    spreads = True

    qmc_type: Literal["sobol", "halton"] = Field("sobol", description="the sequence; sobol is best at powers of two")
    scramble: bool = Field(False, description="randomize the sequence by the sweep's seed")

    @override
    def make(self, seed: int, space: Space) -> BaseSampler:
        """Optuna's QMCSampler."""
        from optuna.samplers import QMCSampler

        return QMCSampler(seed=seed, warn_independent_sampling=False, **self.options())
