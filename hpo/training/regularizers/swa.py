"""The regularizer `swa`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.numbers import larger, where
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import Now, Slots

if TYPE_CHECKING:
    from hpo.training.randomness import Number


@regularizers("swa")
class SWA(Regularizer):
    """Stochastic weight averaging: evaluates the mean of the weights of the last steps (Izmailov et al. 2018, UAI).

    Before the averaging begins the weights themselves are evaluated. The statistics of batch norms are measured anew on
    the training inputs before each evaluation of an average: one more forward pass over them. Beside `ema` it averages
    that average. Usual with a learning rate that stays high.
    """

    main: ClassVar[str] = "last"
    last: float = Field(0.0, ge=0, le=1, description="share of all steps, at the end, that is averaged over; 0 is off")
    every: int = Field(1, ge=1, description="optimizer steps from one averaged set of weights to the next")

    def fill(self, slots: Slots) -> Slots:
        from hpo.training.averages import Following

        return replace(slots, average=Following(slots.average, self.share, norms="measure"))

    def share(self, now: Now) -> Number:
        """How far the average moves to the weights in this step: all the way until it begins, then 1 / their number."""
        begin = ((1 - self.last) * now.steps + 0.5) // 1
        taken = now.step - begin
        mean = where(taken % self.every == 0, 1 / (larger(taken, 0) // self.every + 1), 0.0)
        share: Number = where(taken < 0, 1.0, mean)
        return share
