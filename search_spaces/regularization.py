"""Regularizers that may be off: each is with a probability of its own, and else on a logarithm.

`COMMON` fits any task and network, `SPACE` classification of floats, `CLASSIFICATION` what only classification has.
Recipes: those of torchvision (Vryniotis 2021, "How to Train State-Of-The-Art Models Using TorchVision's Latest
Primitives") and timm (Wightman et al. 2021, "ResNet strikes back", arXiv:2110.00476). AlgoPerf: Dahl et al. 2023
(arXiv:2306.07179). LCBench: Zimmer et al. 2021 (arXiv:2006.13799). Weight decay is the optimizer's.
"""

from hpo.space import Float, Space

COMMON = Space(
    {
        "regularization.dropout": Float(
            0.02,
            0.5,
            log=True,
            zero=0.4,
            default=0.0,
            source="AlgoPerf has 0 and 0.1, Srivastava et al. 2014 up to 0.5, LCBench up to 1",
        ),
        "regularization.gradient_clipping": Float(
            0.1,
            10.0,
            log=True,
            zero=0.5,
            default=0.0,
            source="Playbook (Godbole et al. 2023): where training is unstable; 1 in GPT-3 (Brown et al. 2020)",
        ),
        "regularization.ema": Float(
            0.9,
            0.9999,
            scale="one_minus_log",
            zero=0.5,
            default=0.0,
            source="recipes: 0.9998 in timm, 0.99998 in torchvision, for long trainings; less for short ones",
        ),
    }
)
CLASSIFICATION = Space(
    {
        "regularization.label_smoothing": Float(
            0.01,
            0.3,
            log=True,
            zero=0.5,
            default=0.0,
            source="AlgoPerf has 0, 0.1 and 0.2; recipes: 0.1",
        ),
    }
)
MIXING = Space(
    {
        "regularization.mixup": Float(
            0.05,
            1.0,
            log=True,
            zero=0.5,
            default=0.0,
            source="Zhang et al. 2018 (arXiv:1710.09412): 0.1 .. 0.4, up to 1 on CIFAR; recipes: 0.1 and 0.2",
        ),
    }
)

SPACE = COMMON + CLASSIFICATION + MIXING
