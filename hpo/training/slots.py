"""The five slots of the training loop, each with an "off" object, so that the loop needs no flags and no callbacks.

mix(x, y, generator) -> x, y       one batch to another: augmentation, mixup
gradient(net, loss) -> value       calls `loss`, leaves `.grad` filled, gives the loss's value; may call it twice
penalty(net, loss) -> loss         with its own terms added
average                            `.update(net)` after each step; `.shadow` is what is evaluated
report(step, metrics) -> bool      the only way out: `Trial.go_on`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

Mix = Callable[["Tensor", "Tensor", "Generator"], tuple["Tensor", "Tensor"]]
Gradient = Callable[["nn.Module", Callable[[], "Tensor"]], "Tensor"]
Penalty = Callable[["nn.Module", "Tensor"], "Tensor"]


class Average(Protocol):
    """A second copy of the weights that follows the first."""

    shadow: nn.Module

    def update(self, net: nn.Module) -> None:
        """Follow `net` by one step."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take `state_dict`'s values back."""


class NoAverage:
    """Off: the weights themselves are evaluated."""

    def __init__(self, net: nn.Module) -> None:
        self.shadow = net

    def update(self, net: nn.Module) -> None:
        """Nothing to follow."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


def no_mix(x_B: Tensor, y_B: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Off: the batch as it is."""
    return x_B, y_B


def plain_gradient(net: nn.Module, loss: Callable[[], Tensor]) -> Tensor:  # noqa: ARG001
    """Off: one forward and one backward pass."""
    return loss()


def no_penalty(net: nn.Module, loss: Tensor) -> Tensor:  # noqa: ARG001
    """Off: the loss itself; to add a zero would cost a kernel forward and one backward."""
    return loss


@dataclass(frozen=True)
class Slots:
    """What fills the slots of one training; `report` is the trial's. Regularizers replace what they need."""

    mix: Mix
    gradient: Gradient
    penalty: Penalty
    average: Average


def off(net: nn.Module) -> Slots:
    """All slots off."""
    return Slots(mix=no_mix, gradient=plain_gradient, penalty=no_penalty, average=NoAverage(net))
