"""Grid search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from hpo.errors import UserError
from hpo.search.samplers import Sampler, samplers
from hpo.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


MOST_CELLS = 1_000_000
"""Optuna writes the whole grid out in memory; beyond this nobody finishes it anyway."""


@samplers("grid")
class Grid(Sampler):
    """Every combination of a space without branches, once, in an order shuffled by the seed; then the sweep ends."""

    @override
    def check(self, space: Space, objectives: int = 1) -> None:
        """UserError for branches, for a Float without a step, and for more than MOST_CELLS combinations."""
        space.grid()
        cells = space.size() or 0
        if cells > MOST_CELLS:
            raise UserError(f"sampler: grid takes at most {MOST_CELLS} combinations, found {cells}; use random or tpe")

    @override
    def limit(self, space: Space) -> int | None:
        """The number of combinations."""
        return space.size()

    @override
    def make(self, seed: int, space: Space) -> BaseSampler:
        """Optuna's GridSampler."""
        from optuna.samplers import GridSampler

        return GridSampler(space.grid(), seed=seed)
