"""The learning rate over time: which schedule, its warmup, and where it ends.

Playbook: Godbole et al. 2023, Deep Learning Tuning Playbook. AlgoPerf: Dahl et al. 2023 (arXiv:2306.07179). PD1: the
tables of HyperBO, Wang et al. 2021 (arXiv:2109.08215). WSD: MiniCPM, Hu et al. 2024 (arXiv:2404.06395), and
Hägele et al. 2024 (arXiv:2405.18392). Schedules whose moments are lists (`multistep`), or that follow a metric
(`reduce_on_plateau`), are left to whoever knows their task.
"""

from hpo.space import Choice, Float, Int, Space

WARMUP = {
    "schedule.warmup_fraction": Float(
        0.01,
        0.2,
        log=True,
        zero=0.3,
        default=0.05,
        source="AlgoPerf has 0.02, 0.05 and 0.1; Playbook: raise it where training is unstable, else none is needed",
    )
}
FLOOR = {
    "schedule.floor": Float(
        1e-3,
        0.2,
        log=True,
        zero=0.5,
        default=0.0,
        source="Playbook and AlgoPerf end at 0; Hoffmann et al. 2022 (arXiv:2203.15556) at 0.1",
    )
}

SPACE = Space(
    {
        "schedule.name": Choice(
            {
                "constant": WARMUP,
                "cosine": {**WARMUP, **FLOOR},
                "linear": {**WARMUP, **FLOOR},
                "polynomial": {
                    **WARMUP,
                    **FLOOR,
                    "schedule.power": Float(0.1, 2.0, default=1.0, source="PD1: power 0.1 .. 2; 1 is linear"),
                },
                "wsd": {
                    **WARMUP,
                    **FLOOR,
                    "schedule.decay_fraction": Float(
                        0.05,
                        0.5,
                        log=True,
                        default=0.2,
                        source="WSD: 0.1 in Hu et al., 0.05 .. 0.5 in Hägele et al., where 0.2 does as well as cosine",
                    ),
                    "schedule.decay": Choice(
                        ["linear", "cosine", "1-sqrt"],
                        default="1-sqrt",
                        source="WSD: Hägele et al. 2024 compare them, 1-sqrt is best",
                    ),
                },
                "one_cycle": {
                    "schedule.start_divisor": Float(
                        5.0,
                        100.0,
                        log=True,
                        default=25.0,
                        source="Smith & Topin 2018 (arXiv:1708.07120): 4 .. 30; fastai and torch start at 1/25",
                    ),
                },
                "inverse_sqrt": WARMUP,
                "exponential": {
                    **WARMUP,
                    "schedule.final": Float(
                        1e-3,
                        0.3,
                        log=True,
                        default=0.01,
                        source="Bengio 2012 (arXiv:1206.5533): decay by one to three orders of magnitude",
                    ),
                },
                "step": {
                    **WARMUP,
                    "schedule.drops": Int(1, 4, default=2, source="He et al. 2016 (arXiv:1512.03385) drop two times"),
                    "schedule.gamma": Float(
                        0.05,
                        0.5,
                        log=True,
                        default=0.1,
                        source="0.1 in He et al. 2016, 0.2 in Zagoruyko & Komodakis 2016 (arXiv:1605.07146)",
                    ),
                },
                "cosine_restarts": {
                    **WARMUP,
                    **FLOOR,
                    "schedule.cycles": Int(
                        2, 5, default=3, source="Loshchilov & Hutter 2017 (arXiv:1608.03983): two to seven restarts"
                    ),
                },
            },
            default="cosine",
            source="Playbook: cosine or linear where nothing is known; Schmidt et al. 2021 (arXiv:2007.01547) compare",
        )
    }
)
