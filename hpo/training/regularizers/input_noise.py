"""The regularizer `input_noise`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.slots import OVER_TIME, Now, Slots

if TYPE_CHECKING:
    from torch import Tensor


@regularizers("input_noise")
class InputNoise(Regularizer):
    """Adds normal noise to the inputs, in training only (Bishop 1995, Neural Computation 7)."""

    main: ClassVar[str] = "std"
    std: float = Field(
        0.0,
        ge=0,
        description="standard deviation of the noise, in the inputs' own unit; 0 is off",
        json_schema_extra=OVER_TIME,
    )

    def fill(self, slots: Slots) -> Slots:
        before = slots.mix

        def mix(x_B: Tensor, y_B: Tensor, now: Now) -> tuple[Tensor, Tensor]:
            x_B, y_B = before(x_B, y_B, now)
            self.needs_floats(x_B)
            return x_B + self.at(now) * now.draws.normal("input_noise", x_B.shape).to(x_B.dtype), y_B

        return replace(slots, mix=mix)
