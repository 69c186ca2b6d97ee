"""NSGA-II."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import override

from hpo.search.samplers import Sampler, samplers
from hpo.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers("nsgaii")
class NSGAII(Sampler):
    """Non-dominated sorting genetic algorithm II, for two or three objectives (Deb et al. 2002)."""

    learns_branches = False
    honours_constraints = True

    population_size: int = Field(50, ge=2, description="trials in a generation; the first one is random")
    mutation_prob: float | None = Field(
        None, ge=0, le=1, description="chance that a child's parameter is drawn anew; null: 1 / number of parameters"
    )
    crossover_prob: float = Field(0.9, ge=0, le=1, description="chance that a child has two parents")
    swapping_prob: float = Field(0.5, ge=0, le=1, description="chance that a parameter comes from the other parent")

    @override
    def make(self, seed: int, space: Space) -> BaseSampler:
        """Optuna's NSGAIISampler."""
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, **self.options())
