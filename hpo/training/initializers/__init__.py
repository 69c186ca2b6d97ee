"""Initial weights, one file an entry, registered with `@initializers(...)`.

An initializer fills the weights of linear and convolution layers once, before training; it changes nothing later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.lazy import torch
from hpo.registry import Entry, Registry

if TYPE_CHECKING:
    from torch import Tensor, nn


class Initializer(Entry):
    """How weights are drawn. Biases of the layers it fills become 0; all other modules keep what they were born with.

    `fill` draws from torch's global generator only, which the training loop seeds.
    """

    def fill(self, weight: Tensor) -> None:
        """Overwrite one weight, (out, in) or (out, in / groups, *kernel), in place."""
        raise NotImplementedError

    def apply(self, net: nn.Module) -> None:
        """Fill every linear and convolution layer of `net` in the order of `net.modules()`."""
        with torch.no_grad():
            for module in net.modules():
                if isinstance(module, layers()):
                    own = dict(module.named_parameters(recurse=False))
                    if "weight" in own:  # a parametrized layer keeps its weight elsewhere, and its own first values
                        self.fill(own["weight"])
                        if "bias" in own:
                            own["bias"].zero_()


def layers() -> tuple[type[nn.Module], ...]:
    """The kinds of layer whose weights an initializer fills."""
    nn = torch.nn
    plain = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return (*plain, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


initializers: Registry[Initializer] = Registry("initializer", "hpo.training.initializers")
