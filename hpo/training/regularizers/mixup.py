"""The regularizer `mixup`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.training.mixing import Mixing
from hpo.training.regularizers import regularizers

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.training.slots import Now


@regularizers("mixup")
class Mixup(Mixing):
    """Trains on sums of pairs of examples, inputs and targets alike (Zhang et al. 2018, arXiv:1710.09412).

    x = share * x + (1 - share) * x of a random partner in the batch, and so y; the share is drawn from
    Beta(alpha, alpha), one for a batch; 0.2 is a usual alpha. Targets that are classes become shares of the classes.
    """

    def mixed(self, x_B: Tensor, y_B: Tensor, partner_B: Tensor, now: Now) -> tuple[Tensor, Tensor]:
        """See Mixing."""
        share = self.share(now).to(x_B.dtype)
        return x_B[partner_B].lerp(x_B, share), y_B[partner_B].lerp(y_B, share.to(y_B.dtype))
