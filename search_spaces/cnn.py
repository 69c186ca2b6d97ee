"""Small convolutional networks for images: what trains them, augmentation, and their own shape."""

from hpo.space import Choice, Float, Int, Space
from search_spaces import augmentation, initializers, lr_schedules, optimizers, regularization
from search_spaces.mlp import ACTIVATION

MODEL = Space(
    {
        "model.name": Choice(
            {
                "cnn": {
                    "model.channels": Int(
                        8, 64, log=True, default=16, source="He et al. 2016 (arXiv:1512.03385) on CIFAR-10: 16 .. 64"
                    ),
                    "model.depth": Int(
                        1, 3, default=2, source="Simard et al. 2003: two convolutions for digits; each halves the image"
                    ),
                    "model.norm": Choice(
                        ["none", "batch", "group"],
                        default="batch",
                        source="Ioffe & Szegedy 2015 (arXiv:1502.03167), Wu & He 2018 (arXiv:1803.08494)",
                    ),
                    "model.activation": ACTIVATION,
                }
            },
            default="cnn",
            source="the model this space is for",
        ),
        "regularization.cutmix": Float(
            0.2,
            1.0,
            zero=0.7,
            default=0.0,
            source="Yun et al. 2019 (arXiv:1905.04899): 1; timm and torchvision recipes: 1",
        ),
    }
)

SPACE = MODEL + optimizers.SPACE + lr_schedules.SPACE + initializers.SPACE + regularization.SPACE + augmentation.SPACE
