"""Samplers by name: one file each, whose fields are Optuna's own arguments; a built one is seeded by trial number.

Entry modules import without optuna or torch (they load when a sampler is built); nothing here knows the coordinator.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict

from hpo.errors import UserError
from hpo.registry import Entry, Registry
from hpo.search.notices import experimental_allowed
from hpo.space import Choice, Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Sampler(Entry):
    """How the next configuration is chosen. Fields are options of the sampler; the seed is the sweep's.

    An entry writes `make`; everybody else calls `check` (with the space as the study stores it), `build`, `caveat` and
    `limit`.
    """

    model_config = ConfigDict(strict=True)

    single_objective_only: ClassVar[bool] = False
    """Optuna's sampler raises for more than one objective."""
    learns_branches: ClassVar[bool] = True
    """False where parameters that live in branches are drawn at random, because the model cannot hold them."""
    learns_choices: ClassVar[bool] = True
    """False where choices are drawn at random."""
    spreads: ClassVar[bool] = False
    """It goes evenly through all choices and learns nothing, so that `zero` needs its switches kept out of it."""
    honours_constraints: ClassVar[bool] = False
    """Suggestions keep to where trials met the study's constraints."""
    forget: ClassVar[tuple[str, ...]] = ()
    """Attributes of Optuna's sampler that carry memory between asks and that a restart would not have."""

    @abstractmethod
    def make(self, seed: int, space: Space) -> BaseSampler:
        """Optuna's sampler with these options. `space` is as the study stores it; `check` passed."""

    def check(self, space: Space, objectives: int = 1) -> None:  # noqa: ARG002 (for entries to use)
        """Raise UserError when this sampler cannot work on `space` or with so many objectives."""
        if objectives > 1 and self.single_objective_only:
            raise UserError(f"sampler: {self.name} takes one objective, found {objectives}; tpe and nsgaii take more")

    def build(self, seed: int, space: Space) -> BaseSampler:
        """The sampler, seeded anew from (seed, trial number) before each trial; see `seeded`.

        Raises UserError as `check` does, for one objective.
        """
        from hpo.search.seeds import SeededSampler
        from hpo.search.zeros import with_zeros

        stored = space.stored
        self.check(stored)
        zeros = space.zeros()
        alone = set() if self.learns_branches else stored.conditional()
        alone |= zeros.keys() if self.spreads else set()
        with experimental_allowed():
            made = with_zeros(self.make(seed, stored), zeros)
        return SeededSampler(made, seed, self.forget, alone)

    def caveat(self, space: Space, constrained: bool = False) -> str | None:
        """What this sampler does not do for `space`, or for constraints, to be said once at launch; None: nothing.

        Such as drawing part of the space at random.
        """
        describe = space.stored.describe()
        blind = [
            parameter.path
            for parameter in describe
            if (parameter.when and not self.learns_branches)
            or (isinstance(parameter.domain, Choice) and not self.learns_choices)
        ]
        said = []
        if blind:
            said.append(f"draws {len(blind)} of {len(describe)} parameters at random: {', '.join(blind)}")
        if constrained and not self.honours_constraints:
            said.append("suggests without a look at the constraints; they choose the best trial all the same")
        return f"sampler {self.name} {'; it '.join(said)}" if said else None

    def limit(self, space: Space) -> int | None:  # noqa: ARG002 (for entries to use)
        """How many trials it has to give, None for no end."""
        return None

    def options(self) -> dict[str, Any]:
        """The fields as arguments of Optuna's sampler."""
        return {name: getattr(self, name) for name in type(self).model_fields}


samplers: Registry[Sampler] = Registry("sampler", "hpo.search.samplers")


def seeded(sampler: BaseSampler, seed: int) -> BaseSampler:
    """`sampler` with its random states set from (seed, trial number) before each trial.

    The same seed and the same history then give the same next suggestion, also after a restart. One that is wrapped
    with this seed already is returned as it is.
    """
    from hpo.search.seeds import SeededSampler

    if isinstance(sampler, SeededSampler) and sampler.seed == seed:
        return sampler
    return SeededSampler(sampler, seed)


__all__ = ["Sampler", "samplers", "seeded"]
