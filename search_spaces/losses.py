"""What is minimized: `SPACE` for classification, `REGRESSION` for numbers.

In none of the composed spaces: different losses are different units, so an objective of `val_loss` cannot compare
them. Use it beside an objective that counts, such as `val_accuracy` or `val_r2`.
"""

from hpo.space import Choice, Float, Space

SPACE = Space(
    {
        "loss.name": Choice(
            {
                "cross_entropy": {
                    "loss.class_weights": Choice(
                        ["equal", "balanced"],
                        default="equal",
                        source="King & Zeng 2001, and scikit-learn's class_weight; equal is maximum likelihood",
                    )
                },
                "focal": {
                    "loss.gamma": Float(
                        0.5,
                        5.0,
                        log=True,
                        default=2.0,
                        source="Lin et al. 2017 (arXiv:1708.02002): 0.5 .. 5, best at 2",
                    )
                },
            },
            default="cross_entropy",
            source="Goodfellow et al. 2016, 6.2; Lin et al. 2017 for focal",
        )
    }
)
REGRESSION = Space(
    {
        "loss.name": Choice(
            {
                "mse": {},
                "mae": {},
                "huber": {
                    "loss.delta": Float(
                        0.1, 10.0, log=True, default=1.0, source="Huber 1964: 1.345 standard deviations; torch has 1"
                    )
                },
                "smooth_l1": {
                    "loss.beta": Float(
                        0.1, 10.0, log=True, default=1.0, source="Girshick 2015 (arXiv:1504.08083): 1; 1/9 in Detectron"
                    )
                },
            },
            default="mse",
            source="Hastie et al. 2009, 10.6: squared, absolute and Huber's loss",
        )
    }
)
