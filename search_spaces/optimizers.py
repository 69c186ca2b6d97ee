"""Which optimizer, its learning rate, momenta and weight decay.

AlgoPerf: Dahl et al. 2023 (arXiv:2306.07179), whose baselines search 1 - beta1 on a logarithm. PD1: the tables of
HyperBO, Wang et al. 2021 (arXiv:2109.08215), with 1 - momentum in 1e-3 .. 1. LCBench: Zimmer et al. 2021
(arXiv:2006.13799). Playbook: Godbole et al. 2023, which tunes beta1 before beta2, and the batch size not at all.
One range of learning rates serves all optimizers: it is AlgoPerf's for AdamW and LCBench's for SGD together.
"""

from hpo.space import Choice, Float, Space

BETAS = {
    "optimizer.beta1": Float(
        0.5, 0.98, scale="one_minus_log", default=0.9, source="AlgoPerf: 1 - beta1 in 0.02 .. 0.5, log"
    ),
    "optimizer.beta2": Float(
        0.9,
        0.9999,
        scale="one_minus_log",
        default=0.999,
        source="0.999 in AlgoPerf and Kingma & Ba 2015 (arXiv:1412.6980), 0.95 in GPT-3, 0.99 in Lion",
    ),
}
MOMENTUM = {
    "optimizer.momentum": Float(
        0.1,
        0.999,
        scale="one_minus_log",
        default=0.9,
        source="PD1: 1 - momentum in 0.001 .. 1, log; LCBench: momentum from 0.1",
    ),
    "optimizer.nesterov": Choice(
        [False, True],
        default=True,
        source="AlgoPerf and PD1 have Nesterov's, AlgoPerf both; Sutskever et al. 2013",
    ),
}
RATE = Space(
    {
        "optimizer.lr": Float(
            1e-4,
            1e-1,
            log=True,
            default=1e-3,
            source="LCBench: 1e-4 .. 1e-1 for SGD; AlgoPerf: 1e-4 .. 1e-2 for AdamW; 1e-3 is Kingma & Ba 2015's",
        ),
        "optimizer.weight_decay": Float(
            1e-5,
            1.0,
            log=True,
            zero=0.2,
            default=0.01,
            source="AlgoPerf: 5e-3 .. 1 for AdamW; LCBench: 1e-5 .. 1e-1; 0.01 in Loshchilov & Hutter's code",
        ),
    }
)

SPACE = RATE + Space(
    {
        "optimizer.name": Choice(
            {
                "adamw": BETAS,
                "nadam": BETAS,
                "lion": BETAS,
                "sgd": MOMENTUM,
            },
            default="adamw",
            source="AlgoPerf's baselines; Chen et al. 2023 (arXiv:2302.06675) for Lion",
        )
    }
)
