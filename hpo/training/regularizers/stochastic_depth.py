"""The regularizer `stochastic_depth`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hpo.errors import UserError
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Compute, Gradients, Now, Slots, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn


@regularizers("stochastic_depth")
class StochasticDepth(Regularizer):
    """Leaves out residual branches at random, for each example by itself (Huang et al. 2016, arXiv:1603.09382).

    A branch that is kept is divided by its probability. Branches are found in the model's forward, see
    `hpo.training.residual`; in a model where none is, its DropPath modules are. An explicit rate takes the place of the
    ones that DropPath modules were built with, 0 turns them off. The first dimension of a branch must be the batch.
    """

    main: ClassVar[str] = "rate"
    rate: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="probability that the last branch is left out; 0 is off",
        json_schema_extra=OVER_TIME,
    )
    decay: Literal["linear", "uniform"] = Field(
        "linear", description="whether earlier branches are left out less often, or all alike"
    )

    def prepare(self, net: nn.Module) -> None:
        if self.rate and not places_of(net):
            raise UserError(
                f"regularization.stochastic_depth: {self.rate} has no effect, the model has no residual branch "
                "that can be found; its class may name their last layers in residual_layers"
            )
        for module in _drop_paths(net):
            for field in _RATES & vars(module).keys():
                setattr(module, field, 0.0)

    def fill(self, slots: Slots) -> Slots:
        before, current = slots.gradient, _Current()
        places = places_of(slots.net)
        for index, place in enumerate(places):
            factor = 1.0 if self.decay == "uniform" else (index + 1) / len(places)
            place.register_forward_hook(partial(self._drop, current, index, factor))

        def gradient(compute: Compute, weights: Weights, now: Now) -> tuple[Tensor, Gradients]:
            current.now = now
            try:
                return before(compute, weights, now)
            finally:
                current.now = None

        return replace(slots, gradient=gradient)

    def _drop(self, current: _Current, index: int, factor: float, module: nn.Module, inputs: Any, output: Any) -> Any:
        """What a branch's module gives, with the examples left out; attention gives a tuple."""
        del inputs
        if current.now is None or not module.training:
            return output
        branch_B = output[0] if isinstance(output, tuple) else output
        rate = factor * self.at(current.now)
        draws = current.now.draws
        drawn_B = draws.of_rows(lambda shape: draws.uniform("stochastic_depth", shape, index), (len(branch_B),))
        kept_B = drawn_B >= rate
        scale_B = (kept_B / (1 - rate)).to(branch_B.dtype).view(-1, *[1] * (branch_B.dim() - 1))
        branch_B = branch_B * scale_B
        return (branch_B, *output[1:]) if isinstance(output, tuple) else branch_B


class _Current:
    """The step that is being computed."""

    now: Now | None = None


_RATES = {"drop_prob", "p"}


def _drop_paths(net: nn.Module) -> list[nn.Module]:
    """Modules of any library that leave branches out, by the names that they go by."""
    return [m for m in net.modules() if type(m).__name__.endswith(("DropPath", "StochasticDepth"))]


def places_of(net: nn.Module) -> list[nn.Module]:
    """The modules whose outputs are what residual branches add, first to last."""
    from hpo.training.residual import branches_of

    found = [net.get_submodule(branch.output) for branch in branches_of(net)]
    return found or _drop_paths(net)
