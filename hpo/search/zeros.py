"""Switches of parameters that may be 0, drawn with the probability that the space says and not with one half.

Optuna has no categorical parameter with weights. But every sampler that draws something at random (its first trials, a
parameter it has no model for) does it by a RandomSampler, and that one is made to know the switches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class RandomWithZeros(RandomSampler):
    """Draws as the RandomSampler `inner`, and a switch `name` as off with probability `zeros[name]`."""

    def __init__(self, inner: RandomSampler, zeros: Mapping[str, float]) -> None:
        self._rng = inner._rng
        self._zeros = dict(zeros)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One parameter, at random."""
        if param_name in self._zeros:
            return bool(self._rng.rng.random() >= self._zeros[param_name])
        return super().sample_independent(study, trial, param_name, param_distribution)


def with_zeros(sampler: BaseSampler, zeros: Mapping[str, float]) -> BaseSampler:
    """`sampler`, which draws at random as `zeros` says wherever it draws at random.

    What it has learned outweighs that: the probability is of what it does not know yet. Samplers that go through all
    points (grid, brute_force) draw nothing and are left as they are.
    """
    if not zeros:
        return sampler
    if type(sampler) is RandomSampler:
        return RandomWithZeros(sampler, zeros)
    for name, part in vars(sampler).items():
        if type(part) is RandomSampler:
            setattr(sampler, name, RandomWithZeros(part, zeros))
    return sampler
