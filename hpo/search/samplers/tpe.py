"""Tree-structured Parzen estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator
from typing_extensions import override

from hpo.search.samplers import Sampler, samplers
from hpo.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers("tpe")
class TPE(Sampler):
    """Tree-structured Parzen estimators, joint over the parameters of each branch (Bergstra et al. 2011).

    The joint model is that of BOHB (Falkner et al. 2018).

    Unlike Optuna's default, `group` is on: parameters that live in branches are modelled together with those they
    appear with, not one by one, and that holds with several objectives too (`multivariate`).
    `constant_liar` (trials in flight count as bad) costs little and does little here; with `multivariate: false` it is
    what keeps many trials in flight apart.
    """

    honours_constraints = True

    n_startup_trials: int = Field(10, ge=0, description="random trials before the model is asked")
    n_ei_candidates: int = Field(24, ge=1, description="candidates drawn from the good density for each suggestion")
    multivariate: bool = Field(True, description="model parameters jointly instead of one by one")
    group: bool = Field(True, description="model the parameters of each branch as a group; needs multivariate")
    constant_liar: bool = Field(True, description="take trials in flight for bad ones, so that others go elsewhere")

    @model_validator(mode="after")
    def _groups_are_joint(self) -> Self:
        if self.group and not self.multivariate:
            raise ValueError("multivariate: false needs group: false too; groups are modelled jointly")
        return self

    @override
    def make(self, seed: int, space: Space) -> BaseSampler:
        """The suggestions of Optuna's TPESampler."""
        from hpo.search.parzen.sampler import IndexedTPE

        return IndexedTPE(seed=seed, **self.options())
