"""Multilayer perceptrons for classification: what trains them, and their own width, depth, norm and activation.

LCBench: Zimmer et al. 2021 (arXiv:2006.13799).
"""

from hpo.space import Choice, Int, Space
from search_spaces import initializers, lr_schedules, optimizers, regularization

ACTIVATION = Choice(
    ["relu", "gelu", "silu", "tanh"],
    default="relu",
    source="Glorot et al. 2011; gelu: arXiv:1606.08415; silu: Ramachandran et al. 2017 (arXiv:1710.05941)",
)

MODEL = Space(
    {
        "model.name": Choice(
            {
                "mlp": {
                    "model.width": Int(
                        32, 512, log=True, default=64, source="LCBench: 64 .. 1024, log; half of it for small data"
                    ),
                    "model.depth": Int(1, 4, default=2, source="LCBench: 1 .. 5 layers"),
                    "model.norm": Choice(
                        ["none", "batch", "layer"],
                        default="none",
                        source="Ioffe & Szegedy 2015 (arXiv:1502.03167), Ba et al. 2016 (arXiv:1607.06450)",
                    ),
                    "model.activation": ACTIVATION,
                }
            },
            default="mlp",
            source="the model this space is for",
        )
    }
)

SPACE = MODEL + optimizers.SPACE + lr_schedules.SPACE + initializers.SPACE + regularization.SPACE
