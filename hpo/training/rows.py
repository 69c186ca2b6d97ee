"""The state of a solo run as a row: tensors by name that can be stacked, and back into the run.

`weights` is the vector of trained parameters, `kept.*` what else the network holds, `slot.*` and `clock.*` the
optimizer's, `average<i>.*` the same of each average of weights, the innermost first.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hpo.training.averages import Following
from hpo.training.loop import Run
from hpo.training.packed_rules import Layout, PackedRule, Row
from hpo.training.shape import Unpackable


class RowForm:
    """Where everything lies in the rows of one shape, as its first run shows."""

    def __init__(self, run: Run) -> None:
        """Raises Unpackable."""
        device = run.x_N.device
        self.layout = Layout(run.weights)
        self.rule = PackedRule(run.config.optimizer, run.config.optimizer.terms(run.net), self.layout, device)
        measured = [average for average in averages_of(run) if average.norms == "measure"]
        if measured and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in run.net.modules()):
            raise Unpackable("regularization.swa: the statistics of batch norms are measured for one network at a time")

    def take(self, run: Run) -> Row:
        """The row of a run. Raises Unpackable."""
        with torch.no_grad():
            row = {"weights": self.layout.vector(run.weights)}
            row |= {f"kept.{name}": tensor.detach().clone() for name, tensor in others(run.net, run.weights).items()}
            row |= self.rule.row(run.optimizer.state_dict())
            for i, average in enumerate(averages_of(run)):
                parameters = dict(average.shadow.named_parameters())
                row[f"average{i}.weights"] = self.layout.vector({name: parameters[name] for name in run.weights})
                for name, tensor in others(average.shadow, run.weights).items():
                    row[f"average{i}.kept.{name}"] = tensor.detach().clone()
        return row

    @torch.no_grad()
    def give(self, row: Row, run: Run) -> None:
        """Write a row into a run."""
        self._into(run.net, row, "", run.weights)
        run.optimizer.load_state_dict(self.rule.state(row))
        for i, average in enumerate(averages_of(run)):
            self._into(average.shadow, row, f"average{i}.", run.weights)

    def _into(self, net: nn.Module, row: Row, begin: str, weights: Mapping[str, Tensor]) -> None:
        parameters = dict(net.named_parameters())
        for name, tensor in self.layout.views(row[f"{begin}weights"]).items():
            parameters[name].copy_(tensor)
        for name, tensor in others(net, weights).items():
            tensor.copy_(row[f"{begin}kept.{name}"])


def others(net: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a network holds besides its trained weights: buffers, and parameters that are not trained."""
    frozen = {name: p for name, p in net.named_parameters() if name not in weights}
    return {**frozen, **dict(net.named_buffers())}


def averages_of(run: Run) -> list[Following]:
    """The averages of a run, the innermost first."""
    found: list[Following] = []
    average = run.slots.average
    while isinstance(average, Following):
        found.insert(0, average)
        average = average.before
    return found
