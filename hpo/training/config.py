"""`TrainingConfig`: everything that a search space may vary, frozen and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from hpo.errors import UserError
from hpo.registry import Entry, Registry
from hpo.schema import Frozen, check, mistake_at, nest
from hpo.tasks import ModelEntry, models
from hpo.training.augmentation import Augmentation
from hpo.training.initializers import Initializer, initializers
from hpo.training.losses import Loss, losses
from hpo.training.optimizers import Optimizer, optimizers
from hpo.training.over_time import Schedules, misfit
from hpo.training.privacy import Privacy
from hpo.training.privacy import misfit as misfit_of_privacy
from hpo.training.regularization import Regularization
from hpo.training.schedules import Array, Schedule
from hpo.training.schedules import schedules as schedule_registry  # the field `schedules` would stand in its place

if TYPE_CHECKING:
    from hpo.tasks import Task


class TrainingConfig(Frozen):
    """One configuration of a training. A section is a registry entry: `"cosine"` or `{name: cosine, floor: 0.1}`.

    `TrainingConfig.for_task(task)` gives the type to validate with; `with_paths`, `as_paths` and `paths` speak of its
    values as dotted paths. Dotted and nested keys mean the same.
    """

    model: Annotated[ModelEntry, models] = Field(
        default_factory=lambda: models.parse("mlp"), description="the architecture"
    )
    optimizer: Annotated[Optimizer, optimizers] = Field(
        default_factory=lambda: optimizers.parse("adamw"), description="how gradients move the weights"
    )
    schedule: Annotated[Schedule, schedule_registry] = Field(
        default_factory=lambda: schedule_registry.parse("constant"), description="the learning rate over time"
    )
    schedules: Schedules = Field(
        default_factory=Schedules, description="other numbers over time, by path: {optimizer.weight_decay: cosine}"
    )
    initializer: Annotated[Initializer, initializers] = Field(
        default_factory=lambda: initializers.parse("default"), description="how the first weights are drawn"
    )
    augmentation: Augmentation = Field(
        default_factory=Augmentation, description="changes of images by name, in training only; absent or 0 is off"
    )
    regularization: Regularization = Field(
        default_factory=Regularization, description="regularizers by name; absent or 0 is off"
    )
    loss: Annotated[Loss, losses] = Field(
        default_factory=lambda: losses.parse("cross_entropy"), description="what is minimized"
    )
    privacy: Privacy = Field(default_factory=Privacy, description="training by DP-SGD, in which no example shows")
    epochs: int = Field(20, ge=1, description="passes over the training data")
    batch_size: int = Field(32, ge=1, description="examples of one step; the last batch of an epoch may be smaller")
    accumulate: int = Field(
        1, ge=1, description="pieces in which a batch goes through the network: the same step from less memory"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of products in the forward pass, by autocast; weights stay float32"
    )
    tf32: bool = Field(
        False, description="float32 products on CUDA by TensorFloat-32: faster, with 10 bits of mantissa"
    )
    compile: bool = Field(False, description="torch.compile the network, where there is a C++ compiler")
    native_dropout: bool = Field(
        False, description="dropout from torch's global generators instead of by counter; a schedule cannot move it"
    )
    largest_loss: float = Field(
        0.0, ge=0, description="training loss of an epoch above which a training has diverged; 0 is any finite one"
    )
    seed: int = Field(
        0,
        ge=0,
        description="initial weights, data order and dropout hang on it and on nothing else",
        json_schema_extra={"set_by": "seed"},
    )

    @model_validator(mode="before")
    @classmethod
    def _dotted_is_nested(cls, raw: Any) -> Any:
        return cls._with_names(nest(raw)) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _regularizers_fit_the_loss(self) -> TrainingConfig:
        for name, entry in self.regularization.items():
            try:
                entry.fits(self.loss)
            except ValueError as error:
                raise mistake_at("config", str(error), "regularization", name) from None
        return self

    @model_validator(mode="after")
    def _schedules_move_something(self) -> TrainingConfig:
        found = misfit(self)
        if found is not None:
            raise mistake_at("config", found[1], "schedules", found[0])
        return self

    @model_validator(mode="after")
    def _all_of_it_is_private(self) -> TrainingConfig:
        found = misfit_of_privacy(self)
        if found is not None:
            raise mistake_at("config", found[1], *found[0])
        return self

    @classmethod
    def _with_names(cls, tree: dict[str, Any]) -> dict[str, Any]:
        """A section that names no entry is of its default one: `{optimizer: {lr: 0.1}}`."""
        for field, below in tree.items():
            if isinstance(below, Mapping) and "name" not in below and registry_of(cls, field) is not None:
                tree[field] = {"name": cls.model_fields[field].get_default(call_default_factory=True).name, **below}
        return tree

    def steps_of(self, examples: int) -> int:
        """Optimizer steps of an epoch of so many training examples. Raises UserError for a batch larger than that."""
        if self.batch_size > examples:
            raise UserError(f"batch_size: must be at most the {examples} training examples, found {self.batch_size}")
        return math.ceil(examples / self.batch_size)

    @classmethod
    def for_task(cls, task: Task) -> type[TrainingConfig]:
        """The type of this task's configs: a free `model` mapping when the task brings its own model function.

        Its `loss` and `model` default to the task's. Raises UserError for a model or loss that is not there, or targets
        that do not fit.
        """
        own = OwnModelConfig if callable(task.model) else cls
        found = own.starting({"loss": task.loss, **({} if callable(task.model) else {"model": task.model})})
        loss = found.model_fields["loss"].get_default(call_default_factory=True)
        if not loss.takes(task.has_classes):
            wanted = "floats" if task.has_classes else "integer classes"
            raise UserError(f"task.loss: {loss.name} needs targets that are {wanted}")
        return found

    @classmethod
    def starting(cls, starts: Mapping[str, Any]) -> type[TrainingConfig]:
        """The same type with other defaults, `{"model": "transformer", "loss": "mse"}`; None is this type's own.

        Raises UserError for a model or loss that is not there.
        """
        fields: dict[str, Any] = {}
        for field, kind, registry in (("model", ModelEntry, models), ("loss", Loss, losses)):
            own = cls.model_fields[field]
            entry: Entry | None = registry.check(starts[field], f"task.{field}") if starts.get(field) else None
            if entry is not None and entry != own.get_default(call_default_factory=True):
                fields[field] = Annotated[kind, registry], Field(entry, description=own.description)
        return create_model(cls.__name__, __base__=cls, **fields) if fields else cls


class OwnModelConfig(TrainingConfig):
    """The config of a task with its own model function: `model` is any mapping, handed to that function."""

    model: dict[str, Any] = Field(default_factory=dict, description="what the task's own model function reads")  # type: ignore[assignment]


def registry_of(config_type: type[TrainingConfig], field: str) -> Registry[Any] | None:
    """The registry whose entries may stand in `field`; None for a field of another kind, or none."""
    info = config_type.model_fields.get(field)
    return next((item for item in info.metadata if isinstance(item, Registry)), None) if info else None


def lr_curve(config: TrainingConfig | Mapping[str, Any], steps: int) -> Array:
    """Learning rates of `steps` optimizer steps, float64; what the loop uses, bit for bit.

    config: a TrainingConfig or a mapping for one, nested or dotted; its `model` does not matter.
    Raises UserError for a bad config, or a warmup that is too long.
    """
    if not isinstance(config, TrainingConfig):
        if not isinstance(config, Mapping):
            raise UserError(f"config: must be a TrainingConfig or a mapping, found {type(config).__name__}")
        config = check(OwnModelConfig, {key: value for key, value in nest(config).items() if key != "model"})
    return config.optimizer.lr * config.schedule.factors(steps)
