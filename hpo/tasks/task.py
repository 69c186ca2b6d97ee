"""`Task`: the data, model, loss and metrics of one problem, checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.errors import UserError

if TYPE_CHECKING:
    from torch import nn

Split = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Task:
    """What is trained. Arrays are NumPy arrays or torch tensors; the loop copies them to the device once.

    train, val: pairs (x, y) of equal length; x is (N, ...), y is (N,) integer classes or (N, ...) floats.
    test: the same, touched only by the final evaluation of a chosen configuration; None: there is none.
    model: `model(config) -> nn.Module`, given the config's `model` section as a mapping. Otherwise `config.model` names
        an entry of the `models` registry, and this is the one it names by default, by name or a mapping with one.
    loss: the default of `TrainingConfig.loss` for this task, a name or a mapping with one.
    metrics: entries of the metrics registry, reported as `val_<name>`.
    notes: sentences on what was done to the data that a person should know; said when a sweep begins.

    Raises UserError, in one sentence, for splits that do not fit together or things of the wrong type.
    """

    train: Split
    val: Split
    test: Split | None = None
    model: Callable[[Mapping[str, Any]], nn.Module] | str | Mapping[str, Any] | None = None
    loss: str | Mapping[str, Any] = "cross_entropy"
    metrics: Sequence[str | Mapping[str, Any]] = ("accuracy",)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, split in self.splits():
            _check_split(name, split)
        for name, (x, y) in self.splits():
            _check_alike(f"{name} x", x, self.train[0])
            _check_alike(f"{name} y", y, self.train[1])
        if not (self.model is None or callable(self.model) or isinstance(self.model, str | Mapping)):
            raise UserError(
                "task.model: must be a function that takes a config, or a registered model's name or a mapping with "
                f"one, found {_kind(self.model)}"
            )
        if not isinstance(self.loss, str | Mapping):
            raise UserError(f"task.loss: must be a loss's name or a mapping with one, found {_kind(self.loss)}")
        if isinstance(self.metrics, str | Mapping) or not isinstance(self.metrics, Sequence):
            raise UserError(f"task.metrics: must be a list of metrics, found {_kind(self.metrics)}")

    def splits(self) -> Iterator[tuple[str, Split]]:
        """The splits that there are, by name."""
        yield "train", self.train
        yield "val", self.val
        if self.test is not None:
            yield "test", self.test

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""
        return tuple(self.train[0].shape[1:])

    @property
    def vocabulary(self) -> int | None:
        """How many words there are where inputs are integers: the largest of all splits and 1. None for floats.

        Raises UserError for words below 0.
        """
        if not _is_integer(self.train[0]):
            return None
        for name, (x, _) in self.splits():
            if int(x.min()) < 0:
                raise UserError(f"task.{name}: words in x must count from 0, found {int(x.min())}")
        return 1 + max(int(x.max()) for _, (x, _) in self.splits())

    @property
    def has_classes(self) -> bool:
        """Whether targets are integer classes."""
        return _is_integer(self.train[1])

    @property
    def outputs(self) -> int:
        """How many scores a model gives for one input: the number of classes, or the width of the float targets."""
        if self.has_classes:
            return 1 + max(int(y.max()) for _, (_, y) in self.splits())
        shape = self.train[1].shape
        return int(shape[1]) if len(shape) > 1 else 1


def _check_split(name: str, split: object) -> None:
    if not isinstance(split, tuple | list) or len(split) != 2:
        raise UserError(f"task.{name}: must be a pair (x, y), found {_kind(split)}")
    for part, values in zip("xy", split, strict=True):
        if not hasattr(values, "shape") or not hasattr(values, "dtype"):
            raise UserError(
                f"task.{name}: {part} must be a NumPy array or a torch tensor, found {_kind(values)}",
                hint="np.asarray(...) or torch.as_tensor(...) makes one",
            )
        if len(values.shape) == 0:
            raise UserError(f"task.{name}: {part} must have one row an example, found a single number")
        if not _is_integer(values) and "float" not in str(values.dtype):
            raise UserError(f"task.{name}: {part} must hold floats or integers, found {values.dtype}")
    x, y = split
    if len(x) != len(y):
        raise UserError(f"task.{name}: x and y must have the same length, found {len(x)} and {len(y)}")
    if len(x) == 0:
        raise UserError(f"task.{name}: has no examples")
    if _is_integer(y) and int(y.min()) < 0:
        raise UserError(f"task.{name}: classes in y must count from 0, found {int(y.min())}")


def _check_alike(where: str, values: Any, first: Any) -> None:
    """All splits have examples of one shape and one kind of number."""
    shape, expected = tuple(values.shape[1:]), tuple(first.shape[1:])
    if shape != expected:
        raise UserError(f"task: {where} has examples of shape {shape}, train has {expected}")
    if _is_integer(values) != _is_integer(first):
        raise UserError(f"task: {where} holds {values.dtype}, train holds {first.dtype}")


def _is_integer(values: Any) -> bool:
    text = str(values.dtype)
    return "int" in text or "bool" in text


def _kind(thing: object) -> str:
    if isinstance(thing, tuple | list):
        return f"a {type(thing).__name__} of {len(thing)}"
    return type(thing).__name__
