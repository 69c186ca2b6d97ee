"""What the members of a pack differ in at each step: seeds, positions, and the numbers of optimizer, loss and slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpo.training.loop import Run
from hpo.training.randomness import keys
from hpo.training.shape import numbers_of


@dataclass(frozen=True)
class Numbers:
    """What members differ in: (S, K) of an epoch, (K,) of a step, 0-D inside a member.

    first, second: the keys of the members' draws.  step: done before this one, of `steps`.  values: by their dotted
    paths.
    """

    first: Tensor
    second: Tensor
    step: Tensor
    steps: Tensor
    values: Mapping[str, Tensor]

    def at(self, step: int) -> Numbers:
        """Those of one step."""
        values = {path: table[step] for path, table in self.values.items()}
        return Numbers(self.first[step], self.second[step], self.step[step], self.steps[step], values)

    def under(self, section: str) -> dict[str, Tensor]:
        """The values of one section by their fields."""
        begin = f"{section}."
        return {path[len(begin) :]: table for path, table in self.values.items() if path.startswith(begin)}

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """As vmap takes them."""
        return self.first, self.second, self.step, self.steps, dict(self.values)


def numbers_of_epoch(runs: Sequence[Run]) -> Numbers:
    """What members differ in, for each step of their next epochs."""
    device, steps = runs[0].x_N.device, runs[0].steps
    first_K = torch.tensor([run.history.epoch * steps for run in runs])
    own_K = [numbers_of(run.config) for run in runs]
    paths = dict.fromkeys(path for run, own in zip(runs, own_K, strict=True) for path in (*own, *run.curves.rows))
    columns = {path: [_column(run, own, path) for run, own in zip(runs, own_K, strict=True)] for path in paths}
    step_SK = first_K + torch.arange(steps)[:, None]
    first_SK, second_SK = map(torch.as_tensor, keys(torch.tensor([run.random.member for run in runs]), step_SK))
    return Numbers(
        first=first_SK.to(device),
        second=second_SK.to(device),
        step=step_SK.to(device),
        steps=torch.tensor([steps * run.config.epochs for run in runs], device=device).expand(steps, -1),
        values={path: torch.stack(column_K, 1).to(device) for path, column_K in columns.items()},
    )


def _column(run: Run, own: Mapping[str, float], path: str) -> Tensor:
    """One member's values of a number in its next epoch, (S,) float64. own: of its config, where nothing moves them."""
    row_T, first = run.curves.rows.get(path), run.history.epoch * run.steps
    if row_T is None:
        return torch.full((run.steps,), own[path], dtype=torch.float64)
    return torch.from_numpy(row_T[first : first + run.steps].copy())
