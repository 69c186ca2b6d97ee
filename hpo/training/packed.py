"""Packs: many trainings of one shape at once, as one stacked model.

Every tensor of the state has a leading axis, a row for each member; the step of one member, written in plain tensor
terms and with the very slots of the solo loop, is mapped over the rows by torch.func.vmap. Members come and go between
epochs, each at its own epoch of its own schedule; nothing in a row hangs on its place or on its neighbours.

A member is a solo run (`hpo.training.loop.Run`) whose state lies in a row while it trains: it begins as a solo run
begins, from the same checkpoints, and is written back into one to be saved.

K members, N training examples, B of a batch, S steps of an epoch, P numbers of one network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hpo.errors import UserError
from hpo.tasks import Task
from hpo.training.compiled import can_compile
from hpo.training.config import TrainingConfig
from hpo.training.evaluation import on_device, pick_device
from hpo.training.loop import Run, begin, build
from hpo.training.packed_images import channels_side_by_side
from hpo.training.packed_numbers import Numbers, numbers_of_epoch
from hpo.training.packed_rules import EpochNumbers, Row
from hpo.training.packed_step import MemberStep
from hpo.training.paths import with_paths
from hpo.training.precision import tensor_float_32
from hpo.training.probe import probe
from hpo.training.randomness import seeded
from hpo.training.rows import RowForm
from hpo.training.shape import Unpackable, shape_of
from hpo.training.traced import Traced
from hpo.training.trial import Diverged, Trial, Verdict, checked

LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)
COMPILED = (8, 32, 64)
"""How many rows a step is for, so that members come and go without another tracing, or compilation, of it."""
ROOMY = 3
"""How many rows for each member a step may have that is compiled already: it is about so many times as fast."""


class Member:
    """One training of a pack.

    unreported: (step, metrics) that its trial has not been told yet, in order; of one that was resumed all so far.
    diverged: why it cannot go on.
    """

    def __init__(self, pack: Pack, run: Run) -> None:
        self._pack, self.run = pack, run
        self.trial, self.config, self.history = run.trial, run.config, run.history
        self.unreported: list[tuple[int, dict[str, float]]] = list(enumerate(run.history.reports, 1))
        self.diverged: Diverged | None = None
        run.curves.react(run.history.reports, run.history.epoch * run.steps)

    @property
    def checkpoint_due(self) -> bool:
        """Whether its state is to be saved before its reports are told."""
        at_end = self.trial.keeps and self.history.epoch == self.config.epochs
        return bool(self.unreported) and (self.trial.checkpoint_due or at_end)

    def network(self) -> nn.Module:
        """The network that was evaluated last, with the weights of its row."""
        self._pack.write_back(self)
        return self.run.slots.average.shadow

    def save(self) -> None:
        """Save the state of its row as the checkpoint of a solo run."""
        self._pack.write_back(self)
        self.run.save()

    def deliver(self) -> bool:
        """Tell the trial what it was not told yet; whether training goes on.

        `trial.verdict` says why not; GO_ON: all epochs are done, or it was stopped early.
        """
        going = True
        while going and self.unreported:
            going = self.run.slots.report(*self.unreported.pop(0))
        if self.trial.verdict is Verdict.PUT_BACK:
            self.save()
        return going and self.history.epoch < self.config.epochs

    def learn(self, losses_S: Tensor, found: Mapping[str, float]) -> None:
        """Take the metrics of an epoch. losses_S: of its steps, looked at where the epoch's is not finite."""
        epoch = self.history.epoch + 1
        try:
            self.run.check_loss(found["train_loss"], losses_S)
            report = dict(checked(epoch, found).metrics)
        except Diverged as error:
            self.diverged = error
            return
        self.history.reports.append(report)
        self.unreported.append((epoch, report))
        self.run.curves.react(self.history.reports, epoch * self.run.steps)


class Pack:
    """Members of one shape. Not thread safe; one pack, or solo training, computes at a time in a process.

    serial: operations of the network that torch calls for one member after another, so that a pack gains little.
    ahead: seconds for which packs of this shape will go on training, as far as is known; much of it is worth compiling.
    """

    def __init__(self, task: Task, config: TrainingConfig, device: str | torch.device | None = None) -> None:
        """config: of any member; the network is tried once (`probe`).

        Raises Unpackable, and UserError for what a solo run does.
        """
        self.shape = shape_of(config)
        self.task, self.device = task, pick_device(device)
        self.x_N, self.y_N = on_device(task, self.device).splits["train"]
        self.batch_size, self.tf32 = config.batch_size, config.tf32
        self.members: list[Member] = []
        self.ahead = 0.0
        self._compiles = config.compile and can_compile()
        tried = [config.model_copy(update={"seed": seed, "compile": False}) for seed in (0, 1)]
        tried[1] = _with_another_rate(tried[1], task)
        self._rows: Row = {}
        self._lays_out_images = True
        try:
            self.serial = self._try(tried)
        except Unpackable:
            self._lays_out_images = False  # the model may hold an operation that cannot read the other layout
            self.serial = self._try(tried)

    def _try(self, tried: Sequence[TrainingConfig]) -> tuple[str, ...]:
        """The form and the step of the shape; what is serial in it. Raises Unpackable."""
        first, second = (self._begin(own, _nobody()) for own in tried)
        self._form = RowForm(first)
        self._step = MemberStep(first, self._form, self.task, compiles=self._compiles)
        self._has_lstm = any(isinstance(module, nn.LSTM) for module in first.net.modules())
        with self._ready():
            return probe(self._step, (first, second))

    # ---------------------------------------------------------------- members

    def admit(self, config: TrainingConfig, trial: Trial) -> Member:
        """A member from its first step, or from where the trial's checkpoint left it.

        config: of this pack's shape. Raises UserError for what a solo run does, Unpackable for a state that has no
        place in a row.
        """
        if shape_of(config) != self.shape:
            raise ValueError("a config of another shape")
        run = self._begin(config, trial)
        row = {name: tensor[None] for name, tensor in self._form.take(run).items()}
        if self.members:
            count = len(self.members)
            row = {name: torch.cat([tensor[:count], row[name]]) for name, tensor in self._rows.items()}
        self.members.append(Member(self, run))
        self._keep(row)
        return self.members[-1]

    def _begin(self, config: TrainingConfig, trial: Trial) -> Run:
        with seeded(config.seed, self.device) as random:
            return begin(config, self.task, trial, self.device, random)

    def leave(self, member: Member) -> None:
        """Take a member out; its row is another's then."""
        place = self.members.index(member)
        rest = [row for row in range(len(self.members)) if row != place]
        self.members.pop(place)
        self._keep({name: tensor[rest] for name, tensor in self._rows.items()})

    def _keep(self, rows: Row) -> None:
        """Hold the rows of the members, and copies of the first one behind them up to the next step of the ladder."""
        empty = self.capacity - len(self.members) if self.members else 0
        if empty:
            rows = {
                name: torch.cat([tensor, tensor[:1].expand(empty, *tensor.shape[1:])]) for name, tensor in rows.items()
            }
        self._rows = rows

    @property
    def capacity(self) -> int:
        """Rows that an epoch trains: the next step of a ladder from the number of members."""
        count, ladder = len(self.members), COMPILED if self._compiles else LADDER
        fitting = next((step for step in ladder if step >= count), -(-count // ladder[-1]) * ladder[-1])
        return min((step for step in self.compiled if count <= step <= ROOMY * count), default=fitting)

    @property
    def compiled(self) -> set[int]:
        """How many rows the steps have that were compiled ahead."""
        return self._step.whole.compiled if isinstance(self._step.whole, Traced) else set()

    @property
    def _trained(self) -> list[Member]:
        """The member of every row that is trained."""
        return self.members + self.members[:1] * (self.capacity - len(self.members))

    def write_back(self, member: Member) -> None:
        """Write a member's row into its run."""
        place = self.members.index(member)
        self._form.give({name: tensor[place] for name, tensor in self._rows.items()}, member.run)

    # ------------------------------------------------------------------ epoch

    def epoch(self) -> None:
        """Train every member on every example once, each in its own order, and evaluate all of them."""
        if len(self.members) == 1 and not self._compiles:
            self._alone(self.members[0])
        else:
            self._together()

    def _alone(self, member: Member) -> None:
        """An epoch of the only member as the run that it is: a stack of one takes longer."""
        run = member.run
        self.write_back(member)
        with tensor_float_32(self.tf32, self.device), seeded(run.config.seed, self.device):
            losses_S = torch.stack(run.one_epoch(run.history.epoch)).double()
            run.slots.average.settle(run.x_N)
            member.learn(losses_S, run.evaluated(losses_S))
        self._keep({name: tensor[None] for name, tensor in self._form.take(run).items()})

    def _together(self) -> None:
        if isinstance(self._step.whole, Traced):
            self._step.whole.ahead(self.ahead, self.batch_size)
        if self.capacity != len(self._rows["weights"]):  # a compiled step has come
            self._keep({name: tensor[: len(self.members)] for name, tensor in self._rows.items()})
        with self._ready():
            numbers = numbers_of_epoch([member.run for member in self._trained])
            constants = self._constants(numbers)
            order_KN = torch.stack([m.run.random.order(m.history.epoch, len(self.x_N)) for m in self._trained])
            losses = []
            for step, rows_KB in enumerate(torch.split(order_KN, self.batch_size, 1)):
                losses.append(self._one_step(rows_KB, numbers.at(step), constants.at(step)))
            self._measure(losses, numbers.at(-1))

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """What stands otherwise in this process while a pack computes."""
        with (
            tensor_float_32(self.tf32, self.device),
            channels_side_by_side(self.device, wanted=self._lays_out_images),
            _batched_attention(),
            _batched_lstm(self._has_lstm),
        ):
            yield

    def _one_step(self, rows_KB: Tensor, now: Numbers, constants: Mapping[str, Tensor]) -> Tensor:
        """One step of every member; their losses (K,)."""
        # the last batch of an epoch may be smaller: one step is not worth a second compilation
        step = self._step if self._compiles and rows_KB.shape[1] < self.batch_size else self._step.whole
        x_KB, y_KB = _batches(self.x_N, rows_KB), _batches(self.y_N, rows_KB)
        with self._step.masks.installed():
            value_K, moved = step(self._rows, x_KB, y_KB, now, constants)
        self._rows |= moved
        return value_K

    def _constants(self, numbers: Numbers) -> EpochNumbers:
        own = {name: table.cpu() for name, table in numbers.under("optimizer").items()}
        return self._form.rule.epoch(own, self._rows)

    def _measure(self, losses: Sequence[Tensor], now: Numbers) -> None:
        """The epoch's metrics of all members; the one place where the host waits for the device."""
        losses_SK = torch.stack(list(losses)).double()
        found = {"train_loss": self._step.run.mean_over_examples(losses_SK)}
        with torch.no_grad():
            found |= self._step.measure(self._rows, now)
        values_MK = torch.stack([value_K.double() for value_K in found.values()]).tolist()
        for k, member in enumerate(self.members):
            member.learn(losses_SK[:, k], {name: row[k] for name, row in zip(found, values_MK, strict=True)})


def _batches(values_N: Tensor, rows_KB: Tensor) -> Tensor:
    """Each member's own examples."""
    return values_N.index_select(0, rows_KB.reshape(-1)).view(*rows_KB.shape, *values_N.shape[1:])


def _with_another_rate(config: TrainingConfig, task: Task) -> TrainingConfig:
    """Another dropout rate where there is one: members differ in it, and some models make a plain number of theirs."""
    path, entry = "regularization.dropout", config.regularization.get("dropout")
    if entry is None:
        return config
    if entry.strength:
        return with_paths(config, {path: entry.strength / 2})
    other, place = with_paths(config, {path: 0.25}), torch.device("cpu")
    try:
        with seeded(config.seed, place):
            build(other, task, place)
    except UserError:  # the model drops nothing, which is right for 0 alone
        return config
    return other


def _nobody() -> Trial:
    """A trial that reports to nobody and keeps nothing."""
    return Trial(0, 0, lambda step, metrics: Verdict.GO_ON)  # noqa: ARG005


@contextmanager
def _batched_attention() -> Iterator[None]:
    """Attention by the kernel that can be mapped over members; the others would be called one by one."""
    fast: Any = torch.backends.mha
    before = fast.get_fastpath_enabled()
    fast.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        fast.set_fastpath_enabled(before)


@contextmanager
def _batched_lstm(wanted: bool) -> Iterator[None]:
    """oneDNN's LSTM cannot be mapped over members, torch's own can; without oneDNN convolutions take longer."""
    before = torch._C._get_mkldnn_enabled()  # torch.backends.mkldnn.flags also sets what only Intel's GPUs have
    torch._C._set_mkldnn_enabled(before and not wanted)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)
