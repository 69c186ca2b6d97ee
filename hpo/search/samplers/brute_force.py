"""Exhaustive search through a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import override

from hpo.errors import UserError
from hpo.search.samplers import Sampler, samplers
from hpo.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers("brute_force")
class BruteForce(Sampler):
    """Every point of a finite space, branches included, in random order; then the sweep ends."""

    avoid_premature_stop: bool = Field(
        False, description="count a point only when its trial has ended, at the price of some points twice"
    )

    @override
    def check(self, space: Space, objectives: int = 1) -> None:
        """UserError naming the first Float without a step."""
        endless = space.endless()
        if endless is not None:
            raise UserError(f"space.{endless}: brute_force needs a finite list of values; give it a step")

    @override
    def limit(self, space: Space) -> int | None:
        """The number of points."""
        return space.size()

    @override
    def make(self, seed: int, space: Space) -> BaseSampler:
        """Optuna's BruteForceSampler."""
        from optuna.samplers import BruteForceSampler

        return BruteForceSampler(seed=seed, **self.options())
