"""Training by DP-SGD: how much noise, and to which norm an example's gradient is clipped.

Ponomareva et al. 2023, "How to DP-fy ML" (arXiv:2303.00654), is the playbook here; De et al. 2022 (arXiv:2204.13650)
and Abadi et al. 2016 (arXiv:1607.00133) have the experiments. In none of the composed spaces: who trains with privacy
decides so, and searches with `constraints: ["epsilon <= 8"]` or with epsilon as a second objective.
"""

from hpo.space import Float, Space

SPACE = Space(
    {
        "privacy.noise_multiplier": Float(
            0.5,
            8.0,
            log=True,
            default=1.0,
            source="Abadi et al. 2016: 2 .. 8; De et al. 2022 from 0.5; Ponomareva et al. 2023: from 0.5 up",
        ),
        "privacy.max_grad_norm": Float(
            0.1,
            10.0,
            log=True,
            default=1.0,
            source="Ponomareva et al. 2023: a logarithmic sweep around 1, then the learning rate; De et al. 2022: 1",
        ),
    }
)
