"""Scores and targets brought to one form, for losses and metrics alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.errors import UserError
from hpo.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def class_scores(scores: Tensor) -> Tensor:
    """(B, C, ...) as it is; one logit an example, (B,) or (B, 1), as two scores (B, 2) with the same shares."""
    if scores.dim() > 1 and scores.shape[1] > 1:
        return scores
    logit_B = scores.reshape(len(scores))
    return torch.stack([torch.zeros_like(logit_B), logit_B], 1)


def one_logit(scores: Tensor) -> Tensor:
    """(B,): the logit of class 1 among two, of one score an example or of two."""
    pair_B2 = class_scores(scores)
    if pair_B2.dim() != 2 or pair_B2.shape[1] != 2:
        raise UserError(f"loss: takes one or two scores an example, the model gives {_shape(scores)}")
    return pair_B2[:, 1] - pair_B2[:, 0]


def alike(scores: Tensor, target: Tensor) -> Tensor:
    """Scores in the shape of float targets: (B, 1) and (B,) are the same."""
    if scores.shape == target.shape:
        return scores
    if scores.numel() != target.numel():  # broadcasting would pair every score with every target
        raise UserError(f"loss: the model gives {_shape(scores)} for one example, the targets are {_shape(target)}")
    return scores.reshape(target.shape)


def class_shares(target: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Classes (B,) as shares of the classes (B, C), all of them in the true one; shares as they are."""
    if target.is_floating_point():
        return target
    return (target[:, None] == torch.arange(classes, device=target.device)).to(dtype)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape[1:])) or "a single number"
