"""CMA-ES."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator
from typing_extensions import override

from hpo.errors import UserError
from hpo.search.samplers import Sampler, samplers
from hpo.space import Float, Int, Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@samplers("cmaes")
class CmaEs(Sampler):
    """Covariance matrix adaptation: evolution over numbers, for many trials (Hansen 2016, arXiv:1604.00772)."""

    single_objective_only = True
    learns_branches = False
    learns_choices = False

    n_startup_trials: int = Field(1, ge=0, description="random trials before the strategy begins")
    consider_pruned_trials: bool = Field(False, description="learn from the last values of pruned trials too")
    popsize: int | None = Field(None, ge=2, description="trials in a generation; null: 4 + 3 ln(number of parameters)")
    use_separable_cma: bool = Field(False, description="diagonal covariance, for many parameters")
    with_margin: bool = Field(False, description="keep a margin of chance around the values of stepped parameters")
    lr_adapt: bool = Field(False, description="adapt the learning rate, for noisy or multimodal objectives")

    @model_validator(mode="after")
    def _one_variant(self) -> Self:
        variants = [name for name in ("use_separable_cma", "with_margin", "lr_adapt") if getattr(self, name)]
        if len(variants) > 1:
            raise ValueError(f"{' and '.join(variants)} exclude each other; keep one")
        return self

    @override
    def check(self, space: Space, objectives: int = 1) -> None:
        """UserError for several objectives, and for stepped parameters under `lr_adapt`."""
        super().check(space, objectives)
        stepped = [
            path for path, domain in space.items() if isinstance(domain, Int | Float) and domain.step is not None
        ]
        if self.lr_adapt and stepped:
            # a generation that falls on the mean's own grid points leaves cmaes with 0/0, and the next ask with NaN
            raise UserError(f"sampler.lr_adapt: needs parameters without steps, found {', '.join(stepped)}")

    @override
    def make(self, seed: int, space: Space) -> BaseSampler:
        """Optuna's CmaEsSampler."""
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(seed=seed, warn_independent_sampling=False, **self.options())
