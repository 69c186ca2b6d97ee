"""The two registries of this room and the contracts of their entries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hpo.errors import UserError
from hpo.registry import Entry, Registry
from hpo.tasks.task import Task

if TYPE_CHECKING:
    from typing import Self

    from torch import nn


class TaskEntry(Entry):
    """A named task: its fields are the task's options, `make` loads the data.

    `make` must give the same arrays at every call with the same options, on every machine: a split that is drawn hangs
    on an option (`split_seed`), never on a trial's seed.
    """

    def make(self) -> Task:
        """The task's data, model, loss and metrics."""
        raise NotImplementedError

    def starts(self) -> Mapping[str, Any]:
        """What a config of this task starts from where it is not what any config does: its `model` and its `loss`.

        `{"model": "transformer"}`, as the Task of `make` says too; known without making it, so that a sweep file is
        checked against the right model. Left out where only making it can tell.
        """
        return {}

    def examples(self) -> int | None:
        """How many training examples `make` gives, None where only making it can tell.

        Whoever says it has a warmup that is too long refused before anything starts.
        """
        return None

    def placed(self, folder: Path) -> Self:
        """The same task with the files it names looked up from `folder`. Raises UserError for one that is not there."""
        del folder
        return self

    def files(self) -> tuple[Path, ...]:
        """The files, or folders with all that is in them, on which a placed task rests; what they hold is part of it.

        Raises UserError for one that is not there.
        """
        return ()


class ModelEntry(Entry):
    """A named architecture: its fields are what a search space may vary.

    `build` draws initial weights from torch's global generator only, which the training loop seeds. It puts an
    `nn.Dropout(0.0)` where dropout may act: `regularization.dropout` sets the rate.
    Facts: `takes_words` says that inputs may be integers; others are refused in one sentence.
    """

    takes_words: ClassVar[bool] = True

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A fresh module for inputs (batch, *input_shape) and scores (batch, outputs).

        Raises UserError when the architecture cannot take inputs of that shape.
        """
        raise NotImplementedError

    def build_for(self, task: Task) -> nn.Module:
        """The same for a task; for architectures that must know more of it than those shapes, such as its vocabulary.

        Raises UserError when the architecture cannot take the task's inputs.
        """
        if task.vocabulary is not None and not self.takes_words:
            raise UserError(
                f"model: {self.name} needs floats, the task's inputs are integers; make them floats, or take the "
                "model transformer for words"
            )
        return self.build(task.input_shape, task.outputs)


tasks: Registry[TaskEntry] = Registry("task", "hpo.tasks.datasets")
models: Registry[ModelEntry] = Registry("model", "hpo.tasks.architectures")
