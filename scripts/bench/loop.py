"""The training loop beside one written by hand in torch: milliseconds a step, and how many times as long ours takes.

    python scripts/bench/loop.py                        # steps as short as they get, of about 1 ms and about 10 ms
    python scripts/bench/loop.py --sizes 1ms --techniques plain --turns 31

Both sides train the same multilayer perceptron from the same weights on the same batches in the same order, from
tensors on the device indexed by batch, and evaluate loss and accuracy after every epoch. The bare loop is zero_grad,
forward, cross_entropy, backward and the step of torch.optim.AdamW, as it comes and with `fused=True`; ours is
`hpo.training.train_task` with a trial that keeps nothing. A turn is one whole training by each, its network's making
and its evaluations included, on one thread; the median of the turns is printed, and of the ratios within a turn to
either bare loop, wall and CPU: on a busy machine only the CPU's mean something.

plain: nothing else.  regularized: dropout, label smoothing, gradient clipping, weight decay that spares biases, a
cosine over the steps; the bare loop by torch's own means. Ours twice: with torch's dropout, and by counter, which torch
has not. Without dropout all sides must end every epoch with the same loss, or the script fails: so they do the same.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hpo.tasks import Task
from hpo.training import Trained, TrainingConfig, train_task, with_paths
from hpo.training.loop import build
from hpo.training.randomness import seeded
from hpo.training.trial import Trial, Verdict

INPUTS, CLASSES, HELD_OUT, STEPS = 64, 10, 1024, 100  # steps of an epoch
LR, DECAY, SMOOTHING, CLIP = 1e-3, 0.01, 0.1, 1.0
CPU = torch.device("cpu")
BARE = ("torch", "torch, fused")
Training = Callable[[], list[float]]
Taken = tuple[float, float]
"""Milliseconds, wall and CPU."""


@dataclass(frozen=True)
class Size:
    """A network and what it is trained on. epochs: of one turn."""

    width: int
    depth: int
    batch: int
    epochs: int

    def __str__(self) -> str:
        return f"{'-'.join(map(str, (INPUTS, *[self.width] * self.depth, CLASSES)))}, {self.batch}"


SIZES = {"short": Size(16, 1, 16, 20), "1ms": Size(256, 2, 64, 5), "10ms": Size(768, 3, 96, 1)}
TECHNIQUES: dict[str, dict[str, Any]] = {
    "plain": {"optimizer.no_decay": "none"},
    "regularized": {
        "schedule": "cosine",
        "regularization": {"dropout": 0.1, "label_smoothing": SMOOTHING, "gradient_clipping": CLIP},
        "native_dropout": True,
    },
}


def task_for(size: Size) -> Task:
    """Points around one centre for each class, on the device as they are."""
    generator = torch.Generator().manual_seed(0)
    y_N = torch.randint(0, CLASSES, (size.batch * STEPS + HELD_OUT,), generator=generator)
    centre_CI = torch.randn(CLASSES, INPUTS, generator=generator)
    x_NI = centre_CI[y_N] + 2 * torch.randn(len(y_N), INPUTS, generator=generator)
    return Task((x_NI[HELD_OUT:], y_N[HELD_OUT:]), (x_NI[:HELD_OUT], y_N[:HELD_OUT]))


def config_for(task: Task, size: Size, technique: str, dropout: bool) -> TrainingConfig:
    """Everything that our loop is told. dropout: False turns it off."""
    sizes = {"model": {"name": "mlp", "width": size.width, "depth": size.depth}, "optimizer.lr": LR}
    changes = {"optimizer.weight_decay": DECAY, "batch_size": size.batch, "epochs": size.epochs}
    config = with_paths(TrainingConfig.for_task(task)(), {**sizes, **changes, **TECHNIQUES[technique]})
    return config if dropout else with_paths(config, {"regularization.dropout": 0.0})


def ours(config: TrainingConfig, task: Task) -> list[float]:
    """Our loop; the validation loss of every epoch."""
    found: Trained = train_task(config, task, Trial(0, 0, go_on), CPU)
    return [progress.metrics["val_loss"] for progress in found.history]


def go_on(step: int, metrics: Mapping[str, float]) -> Verdict:  # noqa: ARG001
    """The answer to every report."""
    return Verdict.GO_ON


class Bare:
    """The same training in plain torch."""

    def __init__(self, config: TrainingConfig, task: Task, regularized: bool, fused: bool) -> None:
        """What needs no time in a turn: our first weights and our order of examples."""
        self.config, self.task, self.regularized, self.fused = config, task, regularized, fused
        with seeded(config.seed, CPU) as random:
            random.start("weights")
            self.first, _ = build(config, task, CPU)
            self.orders = []
            for epoch in range(config.epochs):
                self.orders.append(random.order(epoch, len(task.train[0])))

    def __call__(self) -> list[float]:
        """Train; the validation loss of every epoch."""
        (x_N, y_N), (x_V, y_V) = self.task.train, self.task.val
        net = copy.deepcopy(self.first)
        optimizer = self.optimizer(net)
        schedule = self.schedule(optimizer, len(self.orders) * STEPS) if self.regularized else None
        smoothing = SMOOTHING if self.regularized else 0.0
        reports = []
        for order_N in self.orders:
            losses = []
            for rows_B in torch.split(order_N, self.config.batch_size):
                optimizer.zero_grad(set_to_none=True)
                scores = net(x_N[rows_B])
                loss = nn.functional.cross_entropy(scores, y_N[rows_B], label_smoothing=smoothing)
                loss.backward()
                if self.regularized:
                    nn.utils.clip_grad_norm_(net.parameters(), CLIP)
                optimizer.step()
                if schedule is not None:
                    schedule.step()
                losses.append(loss.detach())
            net.eval()
            with torch.inference_mode():
                scores = net(x_V)
                right = (scores.argmax(1) == y_V).float().mean()
                found = torch.stack([torch.stack(losses).mean(), nn.functional.cross_entropy(scores, y_V), right])
            net.train()
            reports.append(found.tolist()[1])
        return reports

    def optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        """AdamW; regularized, weight decay is of matrices alone."""
        parameters = list(net.parameters())
        groups: list[Any] = parameters
        if self.regularized:
            matrices, vectors = [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() == 1]
            groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=LR, weight_decay=DECAY, fused=self.fused)

    def schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        """A cosine from the learning rate to 0."""
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def sides(size: Size, technique: str, dropout: bool = True) -> dict[str, Training]:
    """A training by each side, by its name in the table."""
    task, regularized = task_for(size), technique == "regularized"
    config = config_for(task, size, technique, dropout)
    bare: dict[str, Training] = {name: Bare(config, task, regularized, "fused" in name) for name in BARE}
    if not regularized:
        return {**bare, "hpo": lambda: ours(config, task)}
    counted = with_paths(config, {"native_dropout": False})
    return {
        **bare,
        "hpo, torch's dropout": lambda: ours(config, task),
        "hpo, counted dropout": lambda: ours(counted, task),
    }


def measure(trainings: dict[str, Training], steps: int, turns: int) -> dict[str, list[Taken]]:
    """What a step took in each turn, by side; the sides alternate, the first turn counts for nothing."""
    taken: dict[str, list[Taken]] = {name: [] for name in trainings}
    for turn in range(turns + 1):
        for name, train in trainings.items():
            wall, cpu = time.perf_counter(), time.process_time()
            train()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if turn:
                taken[name].append((1e3 * spent[0] / steps, 1e3 * spent[1] / steps))
    return taken


def show(case: str, taken: dict[str, list[Taken]]) -> None:
    """Lines of the table."""
    for name, own in taken.items():
        cells = ["{:.3f} ({:.3f})".format(*map(statistics.median, zip(*own, strict=True)))]
        for bare in BARE:
            ratios = [(a[0] / b[0], a[1] / b[1]) for a, b in zip(own, taken[bare], strict=True)]
            shown = "{:.3f}x ({:.3f}x)".format(*map(statistics.median, zip(*ratios, strict=True)))
            cells.append("" if name in BARE else shown)
        print(f"| {case} | {name} | {' | '.join(cells)} |", flush=True)


def agree(trainings: dict[str, Training]) -> None:
    """Fails where one side's losses are not the other's but for rounding."""
    found = {name: torch.tensor(train()) for name, train in trainings.items()}
    for losses in found.values():
        torch.testing.assert_close(losses, found["torch"], rtol=1e-3, atol=1e-4)


def main() -> None:
    """Measure every size with every technique and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES), help="of a step")
    parser.add_argument("--techniques", nargs="+", choices=list(TECHNIQUES), default=list(TECHNIQUES))
    parser.add_argument("--turns", type=int, default=11, help="whole trainings by each side")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, one thread\n")
    print("| network, batch | technique | side | ms a step, wall (CPU) | beside torch | beside torch, fused |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in (SIZES[name] for name in asked.sizes):
        for technique in asked.techniques:
            agree(sides(size, technique, dropout=False))
            trainings = sides(size, technique)
            show(f"{size} | {technique}", measure(trainings, STEPS * size.epochs, asked.turns))


if __name__ == "__main__":
    main()
