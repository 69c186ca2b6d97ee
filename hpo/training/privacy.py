"""The config section `privacy`: training by DP-SGD, how much noise, and what cannot be had beside it.

Known without torch and without Opacus; `hpo.training.private` is how it is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from hpo.errors import UserError
from hpo.schema import Frozen, mistake_at
from hpo.training.over_time import followed

if TYPE_CHECKING:
    from typing import Self

    from hpo.training.config import TrainingConfig

EPSILON = "epsilon"
"""What a private training reports beside its metrics: the epsilon spent until then. Smaller is better."""

Place = tuple[str, ...]


class Privacy(Frozen):
    """DP-SGD (Abadi et al. 2016, arXiv:1607.00133): gradients of single examples are clipped, summed and noised.

    On where one of `noise_multiplier` and `target_epsilon` is above 0.
    """

    noise_multiplier: float = Field(
        0.0, ge=0, description="standard deviation of the noise, as a multiple of max_grad_norm; 0 is off"
    )
    target_epsilon: float = Field(
        0.0, ge=0, description="instead of noise_multiplier: as much noise as spends this at the last step; 0 is off"
    )
    max_grad_norm: float = Field(1.0, gt=0, description="norm to which the gradient of each example is clipped")
    delta: float = Field(
        0.0, ge=0, lt=1, description="at which epsilon is stated; 0 is 1/N^1.1 for N training examples"
    )
    accountant: Literal["rdp", "prv"] = Field(
        "rdp", description="what counts epsilon: rdp takes moments, prv is tighter and takes seconds an epoch"
    )

    @field_validator("target_epsilon")
    @classmethod
    def _one_of_two(cls, target: float, info: ValidationInfo) -> float:
        noise = info.data.get("noise_multiplier")
        if target and noise:
            raise ValueError(f"{target:g} beside noise_multiplier {noise:g}; set one of the two")
        return target

    @model_validator(mode="after")
    def _nothing_for_nothing(self) -> Self:
        for name, info in type(self).model_fields.items():
            if not self.on and getattr(self, name) != info.default:
                text = "has no effect without privacy.noise_multiplier or privacy.target_epsilon, which are off"
                raise mistake_at("privacy", text, name)
        return self

    @property
    def on(self) -> bool:
        """Whether training is private at all."""
        return self.noise_multiplier > 0 or self.target_epsilon > 0

    def delta_for(self, examples: int) -> float:
        """The delta of a training on so many examples; by default that of McMahan et al. 2018 (arXiv:1710.06963)."""
        return self.delta or float(examples**-1.1)


def misfit(config: TrainingConfig) -> tuple[Place, str] | None:
    """A key of this config that cannot stand beside `privacy`, and why; None where all can or privacy is off."""
    return next(_misfits(config), None) if config.privacy.on else None


def _misfits(config: TrainingConfig) -> Iterator[tuple[Place, str]]:
    if config.accumulate > 1:
        yield (
            ("accumulate",),
            f"must be 1 beside privacy, which needs each example's gradient, found {config.accumulate}",
        )
    if config.precision != "float32":
        yield (
            ("precision",),
            f"must be float32 beside privacy, whose noise is of that format, found {config.precision!r}",
        )
    if config.compile:
        yield ("compile",), "must be false beside privacy, which looks into the layers as they compute"
    if getattr(config.model, "norm", None) == "batch":
        yield ("model", "norm"), "batch mixes the examples of a batch, which privacy cannot have; choose another norm"
    for name, entry in config.regularization.items():
        if entry.strength > 0 and entry.unprivate:
            yield ("regularization", name), f"cannot stand beside privacy: {entry.unprivate}"
    if (found := config.loss.unprivate()) is not None:
        yield ("loss", *found[0]), f"cannot stand beside privacy: {found[1]}"
    for key, metric in followed(config):
        if metric == "train_loss":
            yield (
                (*key, "metric"),
                "cannot be train_loss beside privacy: it tells of the training examples without noise",
            )


def check_installed() -> None:
    """Raises UserError where Opacus is not installed."""
    from importlib.util import find_spec

    if find_spec("opacus") is None:
        raise UserError("privacy: needs Opacus, which is not installed; pip install 'hpo[privacy]'")


def check_point(config: TrainingConfig, point: str, wanted: Sequence[str]) -> None:
    """A trial that trains in private needs Opacus, and one that does not has no epsilon.

    point: of a search space, as the sentence names it. wanted: the metrics that a sweep asks of its trials.
    """
    if config.privacy.on:
        check_installed()
    elif EPSILON in wanted:
        raise UserError(
            f"{point} cannot be used: {EPSILON} is reported by private trainings only; set privacy.noise_multiplier or "
            "privacy.target_epsilon, above 0 everywhere in the space"
        )
