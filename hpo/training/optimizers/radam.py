"""The optimizer `radam`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.training.moments import Moments
from hpo.training.numbers import where
from hpo.training.optimizers import EitherDecay, optimizers
from hpo.training.rules import Numbers, Slots

if TYPE_CHECKING:
    from torch import Tensor


@optimizers("radam")
class RAdam(EitherDecay, Moments):
    """Adam that is plain momentum until its squares can be trusted, as torch.optim.RAdam (arXiv:1908.03265)."""

    def constants(self, numbers: Numbers, clock: Numbers) -> dict[str, Any]:
        common = self.moment_constants(numbers, clock)
        step, kept = clock["step"], numbers["beta2"]
        longest = 2 / (1 - kept) - 1
        # how many gradients the mean of squares is worth; below 5 its variance is not to be had
        length = longest - 2 * step * kept**step / (1 - kept**step)
        trusted = length > 5
        safe = where(trusted, length, longest + 5)
        rectified = ((safe - 4) * (safe - 2) * longest / ((longest - 4) * (longest - 2) * safe)) ** 0.5
        return {
            **common,
            **self.decay_constants(numbers),
            "adaptive": where(trusted, common["size"] * common["root"] * rectified, 0.0),
            "plain": where(trusted, 0.0, common["size"]),
        }

    def update(self, p: Tensor, g: Tensor, slots: Slots, c: Numbers) -> tuple[Tensor, Slots]:
        p, g = self.decay(p, g, c)
        mean, square = self.moments(g, slots, c)
        step = mean / (square.sqrt() + c["epsilon"]) * c["adaptive"] + mean * c["plain"]
        return p - step, {"mean": mean, "square": square}
