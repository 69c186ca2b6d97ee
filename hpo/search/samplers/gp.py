"""Gaussian processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import override

from hpo.search.samplers import Sampler, samplers
from hpo.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers("gp")
class GP(Sampler):
    """Gaussian process with expected improvement: few trials, costly ones (Snoek et al. 2012).

    Takes about a second a suggestion after a few hundred trials, and imports torch. Each suggestion fits its model from
    scratch, not from where the last one ended, so that a restarted sweep suggests the same.
    """

    learns_branches = False
    forget = ("_gprs_cache_list", "_constraints_gprs_cache_list")
    honours_constraints = True

    n_startup_trials: int = Field(10, ge=0, description="random trials before the model is asked")
    deterministic_objective: bool = Field(False, description="the objective has no noise: pass through every value")

    @override
    def make(self, seed: int, space: Space) -> BaseSampler:
        """Optuna's GPSampler."""
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, warn_independent_sampling=False, **self.options())
