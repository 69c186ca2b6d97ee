"""What a network takes for what, and at which price it finds each class: the winner's confusion matrix and ROC curves.

As plain data that is kept with a study; the report draws it. N examples, C classes, T points of a curve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hpo.lazy import torch
from hpo.schema import Frozen
from hpo.training.scores import class_scores

if TYPE_CHECKING:
    from torch import nn

    from hpo.tasks import Task

# Both together keep it below 50 kB as JSON; the smallest text of a database holds 64 KiB.
MOST_CLASSES = 50
MOST_POINTS = 1000  # of all curves together


class RocCurve(Frozen):
    """One class against all others: straight lines between the points, from (0, 0) to (1, 1)."""

    of_class: int
    area: float = Field(description="below the whole curve, not below the points that are kept")
    false_positives: tuple[float, ...] = Field(description="shares of the others that are taken for it, growing")
    true_positives: tuple[float, ...] = Field(description="shares of its own examples that are found")


class ByClass(Frozen):
    """A network on one split. Row i of `confusion` counts what the examples of class i were taken for."""

    split: str
    confusion: tuple[tuple[int, ...], ...]
    roc: tuple[RocCurve, ...] = Field(description="of two classes only the second; none of a class that is not there")


def measure_by_class(
    net: nn.Module, task: Task, split: str, device: str | torch.device | None = None
) -> ByClass | None:
    """Both for a trained network, which costs one evaluation of the split and a sort of it for each class.

    None for targets that are no classes, one an example, and for more than MOST_CLASSES.
    """
    from hpo.training.evaluation import on_device, pick_device, scores_of

    if not task.has_classes or task.outputs > MOST_CLASSES:
        return None
    place = pick_device(device)
    x_N, target_N = on_device(task, place).splits[split]
    scores_NC = class_scores(scores_of(net.to(place), x_N))
    if scores_NC.dim() != 2 or target_N.dim() != 1 or scores_NC.shape[1] > MOST_CLASSES:
        return None
    share_NC = scores_NC.double().softmax(1).cpu().numpy()
    said_N, there_N = scores_NC.argmax(1).cpu().numpy(), target_N.cpu().numpy()
    classes = share_NC.shape[1]
    counts_CC = np.bincount(there_N * classes + said_N, minlength=classes**2).reshape(classes, classes)
    curves = tuple(
        _curve(c, share_NC[:, c], there_N == c, MOST_POINTS // classes)
        for c in range(1 if classes == 2 else 0, classes)
        if 0 < counts_CC[c].sum() < len(there_N)
    )
    return ByClass(split=split, confusion=tuple(map(tuple, counts_CC.tolist())), roc=curves)


def _curve(of_class: int, share_N: NDArray[np.float64], yes_N: NDArray[np.bool_], most: int) -> RocCurve:
    """At every share that an example has, how many are taken for the class when that much is enough."""
    order_N = np.argsort(-share_N, kind="stable")
    last_N = np.append(np.diff(share_N[order_N]) != 0, True)  # equal shares are taken together
    true_T = np.append(0, np.cumsum(yes_N[order_N])[last_N])
    false_T = np.append(0, np.flatnonzero(last_N) + 1) - true_T
    right_T, up_T = np.diff(false_T), np.diff(true_T)
    turns_T = np.concatenate([[True], right_T[:-1] * up_T[1:] != up_T[:-1] * right_T[1:], [True]])
    x_T, y_T = false_T[turns_T] / false_T[-1], true_T[turns_T] / true_T[-1]
    area = float((np.diff(x_T) * (y_T[1:] + y_T[:-1])).sum() / 2)
    if len(x_T) > most:
        # evenly along the curve, whose coordinates only grow: what lies between two points is within their rectangle
        kept = np.unique(np.searchsorted(x_T + y_T, np.linspace(0, 2, most)))
        x_T, y_T = x_T[kept], y_T[kept]
    return RocCurve(
        of_class=of_class,
        area=round(area, 6),
        false_positives=tuple(x_T.round(4).tolist()),
        true_positives=tuple(y_T.round(4).tolist()),
    )
