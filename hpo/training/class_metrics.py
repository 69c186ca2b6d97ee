"""What metrics of classes share: one form of scores, counts of what was said and what is there, averages over classes.

torchmetrics has all of this, and the tests compare with it. It is not what computes here, because it looks at values to
decide what to compute: on a GPU each look waits for the device, and torch.func.vmap cannot map it over the members of a
pack (docs/decisions/010).

N examples, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hpo.lazy import torch
from hpo.training.metrics import Metric
from hpo.training.scores import class_scores

if TYPE_CHECKING:
    from torch import Tensor


class ClassMetric(Metric):
    """Base of metrics of integer classes; two classes may have one logit an example."""

    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    classes: ClassVar[bool] = True

    def value(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        """See Metric; more dimensions than these (of images, of texts) count as more examples."""
        scores_NC = class_scores(scores_NC).movedim(1, -1)
        return self.of_classes(scores_NC.reshape(-1, scores_NC.shape[-1]), target_N.reshape(-1))

    def of_classes(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        """`value` of at least two scores an example."""
        raise NotImplementedError


@dataclass(frozen=True)
class Counts:
    """How often each class was said and right, was said, and is there; floats (C,)."""

    right: Tensor
    said: Tensor
    there: Tensor


def count(scores_NC: Tensor, target_N: Tensor) -> Counts:
    """Counts of the classes with the highest scores."""
    said_N = scores_NC.argmax(1)
    right_N = (said_N == target_N).float()
    none_C, once_N = right_N.new_zeros(scores_NC.shape[1]), torch.ones_like(right_N)
    return Counts(
        none_C.scatter_add(0, target_N, right_N),
        none_C.scatter_add(0, said_N, once_N),
        none_C.scatter_add(0, target_N, once_N),
    )


def is_class(classes_N: Tensor, scores_NC: Tensor) -> Tensor:
    """Whether each example is of each class, bool (N, C)."""
    return classes_N[:, None] == torch.arange(scores_NC.shape[1], device=scores_NC.device)


def share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 where there is nothing."""
    return torch.where(whole == 0, 0.0, part / whole)


class CountMetric(ClassMetric):
    """Base of metrics that are shares of counts, averaged over classes."""

    counts: ClassVar[bool] = True
    average: Literal["micro", "macro", "weighted", "binary"] = Field(
        "macro",
        description="micro counts examples alike, macro classes alike, weighted classes by their frequency; binary is "
        "class 1 of two alone",
    )

    def fits(self, outputs: int) -> None:
        _two_for_binary(self.average, outputs)

    def share(self, counts: Counts) -> Tensor:
        """The metric of each class, or of the counts of all together."""
        raise NotImplementedError

    def of_classes(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        counts = count(scores_NC, target_N)
        if self.average == "micro":
            return self.share(Counts(counts.right.sum(), counts.said.sum(), counts.there.sum()))
        share_C = self.share(counts)
        if self.average == "binary":
            return share_C[1]
        # a class that neither is there nor was said has no share
        seen_C = ((counts.said + counts.there) > 0).float()
        return averaged(share_C, seen_C if self.average == "macro" else counts.there)


class RankMetric(ClassMetric):
    """Base of metrics of the order in which each class's share puts the examples, averaged over classes."""

    average: Literal["macro", "weighted", "binary"] = Field(
        "macro",
        description="macro counts classes alike, weighted by their frequency; binary is class 1 of two alone. Classes "
        "without which it is not defined are left out",
    )

    def fits(self, outputs: int) -> None:
        _two_for_binary(self.average, outputs)

    def of_classes(self, scores_NC: Tensor, target_N: Tensor) -> Tensor:
        # float64, where shares that are nearly 1 are not yet equal
        share_CN = scores_NC.double().softmax(1).T.contiguous()
        yes_CN = is_class(target_N, scores_NC).T.double()
        value_C, defined_C = self.of_order(share_CN, yes_CN)
        if self.average == "binary":
            return value_C[1].float()
        weight_C = defined_C.double() if self.average == "macro" else defined_C * yes_CN.sum(1)
        return averaged(torch.where(defined_C, value_C, 0.0), weight_C).float()

    def of_order(self, share_CN: Tensor, yes_CN: Tensor) -> tuple[Tensor, Tensor]:
        """The metric of each class against all others, and whether it is defined; (C,)."""
        raise NotImplementedError


def averaged(value_C: Tensor, weight_C: Tensor) -> Tensor:
    """The mean by these weights; NaN where all are 0."""
    return (value_C * weight_C / weight_C.sum()).sum()


def _two_for_binary(average: str, outputs: int) -> None:
    if average == "binary" and outputs > 2:
        raise ValueError(f"the average binary is for two classes, the task has {outputs}")
