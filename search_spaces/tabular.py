"""Tables, for classification and regression alike: a multilayer perceptron and what trains it, after LCBench.

LCBench: Zimmer et al. 2021 (arXiv:2006.13799). Add `search_spaces.losses:SPACE` or `:REGRESSION` for the loss.
"""

from hpo.space import Int, Space
from search_spaces import initializers, lr_schedules, optimizers, regularization
from search_spaces.mlp import MODEL

SPACE = (
    MODEL
    + optimizers.SPACE
    + lr_schedules.SPACE
    + initializers.SPACE
    + regularization.COMMON
    + Space(
        {
            "batch_size": Int(
                16, 256, log=True, default=32, source="LCBench: 16 .. 512, log; small tables have no 512 rows"
            )
        }
    )
)
