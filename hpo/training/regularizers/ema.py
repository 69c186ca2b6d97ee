"""The regularizer `ema`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.numbers import larger
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Now, Slots

if TYPE_CHECKING:
    from hpo.training.randomness import Number


@regularizers("ema")
class EMA(Regularizer):
    """Evaluates an exponential moving average of the weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017).

    After each step average = decay * average + (1 - decay) * weights, from the first weights on; the running statistics
    of norms are averaged alike. The average is what is evaluated, reported and kept; training goes on at the weights.
    """

    main: ClassVar[str] = "decay"
    decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the average that a step keeps, such as 0.999; 0 is off",
        json_schema_extra=OVER_TIME,
    )
    warmup: bool = Field(
        True, description="keep at most (1 + step) / (10 + step), so that the first weights are left soon"
    )

    def fill(self, slots: Slots) -> Slots:
        from hpo.training.averages import Following

        return replace(slots, average=Following(slots.average, self.share, norms="average"))

    def share(self, now: Now) -> Number:
        """How far the average moves to the weights in this step."""
        share = 1 - self.at(now)
        return larger(share, 9 / (10 + now.step)) if self.warmup else share
