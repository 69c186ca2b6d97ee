"""Images changed at random in each batch; each change may be off, and by default all but a shift of one pixel are.

What may be changed without changing the answer only you know: a digit has no mirror image, a scan no colour. Recipes:
those of torchvision (Vryniotis 2021) and timm (Wightman et al. 2021, arXiv:2110.00476). For tasks on images only.
"""

from hpo.space import Float, Int, Space

SPACE = Space(
    {
        "augmentation.flip": Float(
            0.1,
            0.5,
            zero=0.5,
            default=0.0,
            source="recipes: 0.5 for photographs; 0 where left and right are told apart",
        ),
        "augmentation.crop": Int(
            1,
            4,
            log=True,
            zero=0.2,
            default=1,
            source="He et al. 2016 (arXiv:1512.03385): 4 pixels of 32; one of eight is as much",
        ),
        "augmentation.rotate": Float(
            2.0,
            30.0,
            log=True,
            zero=0.5,
            default=0.0,
            source="RandAugment (Cubuk et al. 2020, arXiv:1909.13719): up to 30; 15 for digits in Simard et al. 2003",
        ),
        "augmentation.color_jitter": Float(
            0.05,
            0.4,
            log=True,
            zero=0.5,
            default=0.0,
            source="recipes: 0.4 in timm and in torchvision's reference for ImageNet",
        ),
        "augmentation.erase": Float(
            0.05,
            0.5,
            log=True,
            zero=0.5,
            default=0.0,
            source="Zhong et al. 2020 (arXiv:1708.04896): 0.5; recipes: 0.1 in torchvision, 0.25 in timm",
        ),
    }
)
