"""How the first weights are drawn.

Every entry is the one of its paper; the gain of Saxe et al. 2014 (arXiv:1312.6120) multiplies where there is one.
`dirac`, `identity`, `sparse` and `fixup` need networks of a kind and are left out.
"""

from hpo.space import Choice, Float, Space

GAIN = {
    "initializer.gain": Float(
        0.5,
        2.0,
        log=True,
        default=1.0,
        source="Saxe et al. 2014 (arXiv:1312.6120): 1 keeps norms, above 1 for squashing activations",
    )
}
STD = {
    "initializer.std": Float(
        0.005,
        0.1,
        log=True,
        default=0.02,
        source="0.02 in Radford et al. 2018 (GPT) and ViT recipes of timm; 0.006 in Brown et al. 2020's largest",
    )
}
MODE = {
    "initializer.mode": Choice(
        ["fan_in", "fan_out"],
        default="fan_in",
        source="He et al. 2015 (arXiv:1502.01852): either; torchvision's ResNets take fan_out",
    )
}

SPACE = Space(
    {
        "initializer.name": Choice(
            {
                "default": {},
                "kaiming_normal": MODE,
                "kaiming_uniform": MODE,
                "lecun_normal": {},
                "xavier_normal": GAIN,
                "xavier_uniform": GAIN,
                "orthogonal": GAIN,
                "truncated_normal": STD,
            },
            default="default",
            source="He et al. 2015, LeCun et al. 1998, Glorot & Bengio 2010, Saxe et al. 2014; torch's own as default",
        )
    }
)
