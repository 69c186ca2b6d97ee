"""Weights of classes in a loss: as given, or such that every class counts alike."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from hpo.errors import UserError
from hpo.lazy import torch
from hpo.training.losses import Loss

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor


class ClassWeighted(Loss):
    """Base of losses that weigh classes."""

    class_weights: Literal["equal", "balanced"] | tuple[Annotated[float, Field(ge=0)], ...] = Field(
        "equal",
        description="a list of one weight for each class, or balanced: every class counts alike, whatever its share "
        "of the training examples",
    )

    @field_validator("class_weights", mode="before")
    @classmethod
    def _list_is_tuple(cls, raw: Any) -> Any:
        return tuple(raw) if isinstance(raw, list) else raw

    def fitted(self, target_N: Tensor, outputs: int) -> Self:
        classes = max(outputs, 2)  # one logit stands for two classes
        if self.class_weights == "equal":
            return self
        if isinstance(self.class_weights, tuple):
            if len(self.class_weights) != classes:
                found = len(self.class_weights)
                raise UserError(f"loss.class_weights: must be one for each of the {classes} classes, found {found}")
            return self
        # a class that no training example has counts as if one had it
        count_C = torch.bincount(target_N.flatten(), minlength=classes).clamp(min=1).double()
        weight_C = target_N.numel() / (classes * count_C)
        return self.model_copy(update={"class_weights": tuple(weight_C.tolist())})

    def unprivate(self) -> tuple[tuple[str, ...], str] | None:
        if self.class_weights == "balanced":
            return ("class_weights",), "balanced counts the classes of the training examples, which no noise covers"
        return None

    def weight_of_classes(self, like: Tensor) -> Tensor | None:
        """(C,) on the device of `like`; None: all alike. What is `balanced` must be `fitted` before."""
        if self.class_weights == "equal":
            return None
        assert isinstance(self.class_weights, tuple), "balanced weights are written out by `fitted`"
        return _on(self.class_weights, like.device, like.dtype)


@lru_cache(maxsize=32)
def _on(weights: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """The weights as a tensor, copied to the device once and not at every step."""
    return torch.tensor(weights, device=device, dtype=dtype)
