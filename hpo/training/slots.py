"""The six slots of the training loop, each with an "off" object, so that the loop needs no flags and no callbacks.

mix(x, y, now) -> x, y                        one batch to another: augmentation, mixup
gradient(compute, weights, now)               calls `compute(weights)`, perhaps at other weights or twice (SAM), and
    -> value, gradients                       gives the loss's value with the gradients that the optimizer gets
penalty(weights, loss, now) -> loss           with its own terms added
bound(weights, now) -> weights                where the optimizer's step may not leave them as they are (max-norm)
average                                       `.update(weights, now)` after each step; `.shadow` is what is evaluated,
                                              after `.settle(inputs)`
report(step, metrics) -> bool                 whether to train on: `Trial.go_on`, the only way out

A slot's function is written for one network (one member of a pack) and gives its result instead of changing what it
was given: no `.item()`, no `if` on a tensor, so that `torch.func.vmap` maps the very same function over a pack. What
changes from step to step reaches it as `now`: numbers that a schedule moves or members differ in, and random draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hpo.training.randomness import Draws, Number

Weights = Mapping[str, "Tensor"]
"""The trained parameters by their names in the network."""

Gradients = Mapping[str, "Tensor"]
"""By the same names; a parameter that the loss does not hang on has none."""


class Now(NamedTuple):
    """One optimizer step, as slots and optimizer rules see it.

    step: how many steps were done before it, of `steps` in the whole training.
    values: numbers of this step by their dotted paths: `optimizer.lr` always, others where a schedule moves them (a
        float) or members of a pack differ in them (a 0-D tensor).
    draws: random numbers of this step.
    """

    step: int | Tensor
    steps: int | Tensor
    values: Mapping[str, Number]
    draws: Draws

    def value(self, path: str, fixed: Number) -> Number:
        """The number at `path` in this step; `fixed`, the config's own, where nothing moves it."""
        return self.values.get(path, fixed)

    def under(self, section: str) -> dict[str, Any]:
        """The values of one section by their fields: `under("optimizer")` has `lr`."""
        begin = f"{section}."
        return {path[len(begin) :]: value for path, value in self.values.items() if path.startswith(begin)}


OVER_TIME: dict[str, Any] = {"over_time": True}
"""`json_schema_extra` of a field that `schedules:` may move and members of a pack may differ in.

A regularizer reads it by `self.at(now)`; an optimizer's arrive at its rule as keywords, `step(lr, weight_decay=0.01)`.
"""

Mix = Callable[["Tensor", "Tensor", Now], tuple["Tensor", "Tensor"]]
"""Classes (B,) may become shares of the classes, float (B, outputs): every loss of classes takes both."""
Compute = Callable[[Weights], tuple["Tensor", Gradients]]
"""The batch's loss, without its penalty, at some weights, and the gradients of loss and penalty there."""
Gradient = Callable[[Compute, Weights, Now], tuple["Tensor", Gradients]]
Penalty = Callable[[Weights, "Tensor", Now], "Tensor"]
Bound = Callable[[Weights, Now], Weights]
"""The very same mapping where nothing is bound. Called without autograd."""
Report = Callable[[int, Mapping[str, float]], bool]


class Average(Protocol):
    """A second copy of the weights that follows the first."""

    shadow: nn.Module

    def update(self, weights: Weights, now: Now) -> None:
        """Follow `weights` by one step."""

    def settle(self, x_N: Tensor) -> None:
        """Make `shadow` ready to be evaluated; x_N: the training inputs, for what it must see (norm statistics)."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take `state_dict`'s values back."""


class NoAverage:
    """Off: the weights themselves are evaluated."""

    def __init__(self, net: nn.Module) -> None:
        self.shadow = net

    def update(self, weights: Weights, now: Now) -> None:
        """Nothing to follow."""

    def settle(self, x_N: Tensor) -> None:
        """It is ready."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


def no_mix(x_B: Tensor, y_B: Tensor, now: Now) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Off: the batch as it is."""
    return x_B, y_B


def plain_gradient(compute: Compute, weights: Weights, now: Now) -> tuple[Tensor, Gradients]:  # noqa: ARG001
    """Off: one forward and one backward pass at the weights themselves."""
    return compute(weights)


def no_penalty(weights: Weights, loss: Tensor, now: Now) -> Tensor:  # noqa: ARG001
    """Off: the loss itself; to add a zero would cost a kernel forward and one backward."""
    return loss


def no_bound(weights: Weights, now: Now) -> Weights:  # noqa: ARG001
    """Off: wherever the optimizer moved them."""
    return weights


@dataclass(frozen=True)
class Slots:
    """What fills the slots of one training. Regularizers replace what they need.

    net: the network that is trained; to be looked at, not changed.
    outputs: scores for one example, the number of classes where targets are classes.
    report: called for every epoch in order, those of earlier attempts too when a training goes on from a checkpoint;
        so what it hangs on (the best so far) is the same after a stop, and nothing of it has to be saved.
    """

    mix: Mix
    gradient: Gradient
    penalty: Penalty
    bound: Bound
    average: Average
    report: Report
    net: nn.Module
    outputs: int


def off(net: nn.Module, report: Report, outputs: int) -> Slots:
    """All slots off."""
    return Slots(no_mix, plain_gradient, no_penalty, no_bound, NoAverage(net), report, net, outputs)
