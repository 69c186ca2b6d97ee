"""NSGA-III."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import override

from hpo.search.samplers import Sampler, samplers
from hpo.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers("nsgaiii")
class NSGAIII(Sampler):
    """Non-dominated sorting genetic algorithm III, for three or more objectives (Deb & Jain 2014)."""

    learns_branches = False
    honours_constraints = True

    population_size: int = Field(50, ge=2, description="trials in a generation; the first one is random")
    mutation_prob: float | None = Field(
        None, ge=0, le=1, description="chance that a child's parameter is drawn anew; null: 1 / number of parameters"
    )
    crossover_prob: float = Field(0.9, ge=0, le=1, description="chance that a child has two parents")
    swapping_prob: float = Field(0.5, ge=0, le=1, description="chance that a parameter comes from the other parent")
    dividing_parameter: int = Field(3, ge=1, description="density of the reference points along each objective")

    @override
    def make(self, seed: int, space: Space) -> BaseSampler:
        """Optuna's NSGAIIISampler."""
        from optuna.samplers import NSGAIIISampler

        return NSGAIIISampler(seed=seed, **self.options())
