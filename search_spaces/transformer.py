"""Small transformers: what trains them, and their own width, depth, heads and place of the norms.

Weight decay and the first weights decide whether such a network generalizes at all on small algorithmic tasks: Power et
al. 2022 (arXiv:2201.02177), Liu et al. 2023 (arXiv:2210.01117).
"""

from hpo.space import Choice, Float, Int, Space
from search_spaces import initializers, lr_schedules, optimizers, regularization

MODEL = Space(
    {
        "model.name": Choice(
            {
                "transformer": {
                    "model.width": Int(
                        32,
                        128,
                        step=32,
                        default=128,
                        source="Power et al. 2022: 128; Kaplan et al. 2020 (arXiv:2001.08361): width tells little",
                    ),
                    "model.depth": Int(1, 3, default=2, source="Power et al. 2022: 2; Nanda et al. 2023: 1"),
                    "model.heads": Choice([2, 4, 8], default=4, source="Power et al. 2022 and Nanda et al. 2023: 4"),
                    "model.mlp_ratio": Float(
                        2.0, 4.0, step=1.0, default=4.0, source="Vaswani et al. 2017 (arXiv:1706.03762): 4"
                    ),
                    "model.norm_first": Choice(
                        [True, False],
                        default=True,
                        source="Xiong et al. 2020 (arXiv:2002.04745): first trains without warmup",
                    ),
                }
            },
            default="transformer",
            source="the model this space is for",
        )
    }
)

SPACE = (
    MODEL
    + optimizers.SPACE
    + lr_schedules.SPACE
    + initializers.SPACE
    + regularization.COMMON
    + regularization.CLASSIFICATION
)
