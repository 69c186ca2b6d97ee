"""The training loop: six slots (`slots.py`), one state mapping, no callbacks.

It is deterministic: the same config, task, device and number of threads give the same bits, interrupted or not. The
number of threads is the caller's to set. Data lies on the device as a whole and is batched by index.

N examples, B of a batch, T optimizer steps.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hpo.errors import UserError
from hpo.tasks import Task
from hpo.training.compute import Computing
from hpo.training.config import TrainingConfig
from hpo.training.evaluation import Data, measure, on_device, pick_device
from hpo.training.over_time import Curves
from hpo.training.precision import scaler_for, tensor_float_32
from hpo.training.randomness import Draws, Randomness, seeded
from hpo.training.reported import check_loss, metric_names
from hpo.training.shared import SharedComputing
from hpo.training.slots import Bound, Gradients, Now, Slots, off
from hpo.training.tracked import TrackedConfig
from hpo.training.trial import Diverged, Progress, Trial, Verdict

log = logging.getLogger("hpo.training")


@dataclass(frozen=True)
class Trained:
    """What a training left: the network whose weights were evaluated last, on its device, in training mode.

    metrics: of the last epoch, empty when none was trained.  history: every epoch, also those of earlier attempts.
    unread: paths below `model.` that the task's own model function did not read.
    """

    net: nn.Module
    metrics: Mapping[str, float]
    history: tuple[Progress, ...]
    unread: tuple[str, ...]


class Part(Protocol):
    """Something that changes while training, and can be put back."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Any, /) -> Any: ...


class History:
    """The reports so far; how many there are is the loop's position. Its steps are epochs, counted from 1."""

    def __init__(self) -> None:
        self.reports: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.reports)

    def state_dict(self) -> dict[str, Any]:
        """The reports."""
        return {"reports": self.reports}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.reports = list(state["reports"])


def train_task(
    config: TrainingConfig,
    task: Task,
    trial: Trial,
    device: str | torch.device | None = None,
    until: int | None = None,
    change: Callable[[nn.Module], None] | None = None,
) -> Trained:
    """Train one configuration, reporting `train_loss`, `val_loss` and `val_<metric>` to `trial` after every epoch.

    train_loss: mean of the epoch's training losses, label smoothing included, penalties not.
    device: CUDA where there is one, or the CPU.  until: leave after this epoch; the schedule still spans all of them.
    change: called with the network as it begins, to alter its weights in place.
    A trial that was put back or killed goes on from its checkpoint and ends with the same bits. An answer other than
    GO_ON ends the training; it stands in `trial.verdict`.
    Raises Diverged for NaN or infinity, UserError for a config that does not fit the task.
    """
    place = pick_device(device)
    with seeded(config.seed, place) as random, tensor_float_32(config.tf32, place):
        run = begin(config, task, trial, place, random, change)
        run.train(until or config.epochs)
    reports = run.history.reports
    history = tuple(Progress(epoch, report) for epoch, report in enumerate(reports, 1))
    return Trained(run.slots.average.shadow, reports[-1] if reports else {}, history, run.unread)


def begin(
    config: TrainingConfig,
    task: Task,
    trial: Trial,
    device: torch.device,
    random: Randomness,
    change: Callable[[nn.Module], None] | None = None,
) -> Run:
    """A run before its first step, or where the trial's checkpoint left it; `random` is of a `seeded` block."""
    random.start("weights")
    net, unread = build(config, task, device)
    if change is not None:
        change(net)
    run = _kind(config)(config, task, on_device(task, device), trial, net, random, unread)
    run.restore()
    return run


def _kind(config: TrainingConfig) -> type[Run]:
    if not config.privacy.on:
        return Run
    from hpo.training.private import PrivateRun

    return PrivateRun


def build(config: TrainingConfig, task: Task, device: torch.device) -> tuple[nn.Module, tuple[str, ...]]:
    """A network with its first weights on `device`, and the paths that the task's own model function left unread."""
    check_loss(task, config.loss)
    unread: tuple[str, ...] = ()
    if not callable(task.model):
        net = config.model.build_for(task)
    else:
        read = TrackedConfig(dict(config.model))
        net = task.model(read)
        if not isinstance(net, nn.Module):
            raise UserError(f"task.model: must return a torch.nn.Module, returned {type(net).__name__}")
        unread = tuple(f"model.{path}" for path in read.unread(read.paths()))
    config.initializer.apply(net, config.seed)
    for regularizer in config.regularization.values():
        regularizer.prepare(net)
    return net.to(device).train(), unread


def fill_slots(config: TrainingConfig, slots: Slots) -> Slots:
    """`slots` filled by the augmentations of one training, then by its regularizers in alphabetical order."""
    for entry in (*config.augmentation.in_order(), *config.regularization.values()):
        if entry.strength > 0:
            slots = entry.fill(slots)
    return slots


class Run:
    """One attempt at one configuration. All that changes while it trains is in `state`."""

    def __init__(
        self,
        config: TrainingConfig,
        task: Task,
        data: Data,
        trial: Trial,
        net: nn.Module,
        random: Randomness,
        unread: tuple[str, ...] = (),
    ) -> None:
        self.config, self.data, self.trial, self.net, self.random = config, data, trial, net, random
        self.unread = unread
        self.x_N, self.y_N = data.splits["train"]
        self.steps = config.steps_of(len(self.x_N))
        self._check_last_batch()
        self.curves = Curves(config, self.steps * config.epochs, metric_names(task))
        self.weights = {name: p for name, p in net.named_parameters() if p.requires_grad}
        self.optimizer = config.optimizer.build(net)
        self.slots = fill_slots(config, self.empty_slots(off(net, trial.go_on, task.outputs)))
        self.reported_loss = config.loss.fitted(self.y_N, task.outputs)
        loss = self.reported_loss.training(task, self.x_N.device)
        self.scaler = scaler_for(config.precision, self.x_N.device)
        computing = SharedComputing if trial.workers > 1 else Computing
        self.computing = computing(config, net, self.weights, loss, self.slots.penalty, self.scaler, self.x_N.device)
        self.computing.join(trial.team, self.reported_loss.weight)
        self.history = History()
        self.state: dict[str, Part] = {
            "net": net,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
            "average": self.slots.average,
            "history": self.history,
        }

    def _check_last_batch(self) -> None:
        """Raises UserError where the last batch is one example, and batch norm gets one value of a channel of it."""
        many, size = len(self.x_N), self.config.batch_size
        if (many - 1) % size or not any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in self.net.modules()):
            return
        kept = {name: buffer.clone() for name, buffer in self.net.named_buffers()}
        try:
            with torch.no_grad():
                torch.func.functional_call(self.net, kept, (self.x_N[:1],))
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise UserError(
                    f"batch_size: {size} leaves one of the {many} training examples for the last batch, of which "
                    "batch norm knows no deviation; choose another batch_size, or another norm"
                ) from None

    def train(self, last: int) -> None:
        """Train and report until `last` epochs are done, or until a report is answered with an end."""
        history, trial = self.history, self.trial
        # reports may have been lost with the process that saved their epochs; one that was not is harmless
        self.curves.react(history.reports, history.epoch * self.steps)
        going = all(self.slots.report(epoch, report) for epoch, report in enumerate(history.reports, 1))
        while going and history.epoch < last:
            losses = self.one_epoch(history.epoch)
            history.reports.append(self.measured(losses))
            if trial.checkpoint_due or (trial.keeps and history.epoch == last):
                self.save()
            self.curves.react(history.reports, history.epoch * self.steps)
            going = self.slots.report(history.epoch, history.reports[-1])
        if trial.verdict is Verdict.PUT_BACK:
            self.save()

    def empty_slots(self, slots: Slots) -> Slots:
        """The slots before any regularizer fills them."""
        return slots

    def one_epoch(self, epoch: int) -> list[Tensor]:
        """Train on the batches of one epoch; the loss of each step."""
        slots = self.slots
        self.random.start("epoch", epoch, *self.trial.team.own)
        losses = []
        for rows_B, now in zip(self.batches(epoch), self.moments(epoch), strict=True):
            value, gradients = self.gradients(rows_B, now)
            self.scaler.step(self.optimizer, gradients, now.under("optimizer"))
            del gradients  # as large as the weights; the next ones find their place free
            self.hold(slots.bound, now)
            slots.average.update(self.weights, now)
            losses.append(value)
        return losses

    def batches(self, epoch: int) -> Iterable[Tensor]:
        """The rows of each step: every example once, in an order that hangs on (seed, epoch) only."""
        return torch.split(self.random.order(epoch, len(self.x_N)), self.config.batch_size)

    def gradients(self, rows_B: Tensor, now: Now) -> tuple[Tensor, Gradients]:
        """The loss of a batch, and what the optimizer gets of it."""
        x_B, y_B = self.slots.mix(self.x_N.index_select(0, rows_B), self.y_N.index_select(0, rows_B), now)
        return self.slots.gradient(self.computing.at(x_B, y_B, now), self.weights, now)

    @torch.no_grad()
    def hold(self, bound: Bound, now: Now) -> None:
        """Put the weights where the slot lets them be."""
        weights = bound(self.weights, now)
        if weights is not self.weights:
            for name, weight in self.weights.items():
                weight.copy_(weights[name])

    def moments(self, epoch: int) -> Iterator[Now]:
        """The steps of one epoch."""
        first, steps = epoch * self.steps, self.steps * self.config.epochs
        for step, values in enumerate(self.curves.between(first, first + self.steps), first):
            yield Now(step, steps, values, Draws(self.random.member, step, self.x_N.device))

    def measured(self, losses: Sequence[Tensor]) -> dict[str, float]:
        """The epoch's metrics; the one place where the host waits for the device."""
        losses_S = self.trial.team.total(torch.stack(list(losses)).double())
        self.slots.average.settle(self.x_N)
        found = self.trial.team.same(lambda: self.evaluated(losses_S))
        self.check_loss(found["train_loss"], losses_S)
        return found

    def evaluated(self, losses_S: Tensor) -> dict[str, float]:
        """The metrics of the network, its averages settled, as it is. losses_S: of the epoch's steps."""
        own = measure(self.slots.average.shadow, self.data, "val", self.reported_loss)
        found = {"train_loss": self.mean_over_examples(losses_S), **own}
        values = torch.stack([value.double() for value in found.values()]).tolist()
        return dict(zip(found, values, strict=True))

    def mean_over_examples(self, losses_S: Tensor) -> Tensor:
        """The mean over an epoch's examples of the losses of its steps, (S,) or of many members (S, K)."""
        sizes_S = torch.full_like(losses_S, self.config.batch_size)
        sizes_S[-1] = len(self.x_N) - self.config.batch_size * (self.steps - 1)
        return (losses_S * sizes_S).sum(0) / len(self.x_N)

    def check_loss(self, train_loss: float, losses_S: Tensor) -> None:
        """Raises Diverged where an epoch's loss is not finite, naming the batch, or larger than it may be."""
        epoch, largest = self.history.epoch + 1, self.config.largest_loss
        if not math.isfinite(train_loss):
            batch = 1 + int((~losses_S.isfinite()).nonzero()[0])
            raise Diverged(epoch, "train_loss", train_loss, f" (batch {batch} of {self.steps})")
        if 0 < largest < train_loss:
            raise Diverged(epoch, "train_loss", train_loss, f" (above largest_loss: {largest:g})")

    def save(self) -> None:
        """Save all that changes as the trial's checkpoint."""
        parts = {name: part.state_dict() for name, part in self.state.items()}
        self.trial.checkpoint({**parts, "config": self.config.model_dump(mode="json")})

    def restore(self) -> None:
        """Take the trial's checkpoint back, unless it is of another configuration."""
        saved = self.trial.resume_from
        if saved is None:
            return
        if saved.get("config") != self.config.model_dump(mode="json"):
            log.warning("the checkpoint of trial %d is of another configuration; starting anew", self.trial.number)
            return
        for name, part in self.state.items():
            part.load_state_dict(saved[name])
