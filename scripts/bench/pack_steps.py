"""Steps of members in a pack beside steps of the solo loop: microseconds a member-step, and how many times as fast.

    python scripts/bench/pack_steps.py                          # digits by an MLP and by a small CNN, 1 to 64 members
    python scripts/bench/pack_steps.py --models mlp --members 8 32 --compile    # and the step under torch.compile
    python scripts/bench/pack_steps.py --models mlp --members 32 64 --ahead     # and compiled by a process of its own

No Ray, no study, nothing kept: `train_task` against `Pack.epoch` on the same configs (AdamW, cosine, dropout, label
smoothing, learning rates and seeds of their own), evaluations included, one thread on a CPU. Sides take turns; medians
are printed, wall and, in brackets, CPU: on a busy machine only the CPU's mean something. A compiled step is compiled
before it is measured; how long that took is in the last column (--ahead: what the machine's cache has is not compiled
again).
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

from hpo.tasks import Task, tasks
from hpo.training import TrainingConfig, train_task, with_paths
from hpo.training.packed import Pack
from hpo.training.trial import Trial, Verdict

EPOCHS = 1000  # long enough for every turn; nothing is trained to its end
MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"model": {"name": "mlp", "width": 64, "depth": 1}},
    "cnn": {"model": {"name": "cnn"}},
}
REGULARIZED = {"schedule": "cosine", "regularization": {"dropout": 0.2, "label_smoothing": 0.1}}
PATIENCE = 120.0  # seconds for compiling a step
NO_CACHE = tempfile.mkdtemp(prefix="hpo-bench-")  # where what was compiled ahead is not found
Turn = Callable[[], int]
"""Trains something; how many member-steps."""


def trial() -> Trial:
    """A trial that nobody follows."""
    return Trial(0, 0, lambda step, metrics: Verdict.GO_ON)  # noqa: ARG005


def config_for(task: Task, model: str, number: int, compiled: bool = False) -> TrainingConfig:
    """The config of one member."""
    own = {"seed": number, "optimizer.lr": 1e-3 * (1 + number % 7), "epochs": EPOCHS, "compile": compiled}
    return with_paths(TrainingConfig.for_task(task)(), {**MODELS[model], **REGULARIZED, **own})


def solo(task: Task, model: str, device: str) -> Turn:
    """Three epochs of one training."""
    config = config_for(task, model, 0)

    def turn() -> int:
        found = train_task(config, task, trial(), device, until=3)
        return len(found.history) * -(-len(task.train[0]) // config.batch_size)

    return turn


def packed(task: Task, model: str, members: int, device: str, how: str) -> Turn:
    """Two epochs of a pack that goes on from turn to turn. how: traced, "compiled", or "ahead" of time."""
    pack = Pack(task, config_for(task, model, 0, how == "compiled"), device)
    for number in range(members):
        pack.admit(config_for(task, model, number, how == "compiled"), trial())
    pack.ahead = math.inf if how == "ahead" else 0.0

    cache = os.environ.get("HPO_CACHE", "") if how == "ahead" else NO_CACHE
    until = math.inf

    def turn() -> int:
        nonlocal until
        os.environ["HPO_CACHE"] = cache
        until = min(until, time.monotonic() + PATIENCE)  # where it is no faster there is nothing to wait for
        while how == "ahead" and members not in pack.compiled and time.monotonic() < until:
            pack.epoch()
        for _ in range(2):
            pack.epoch()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        return 2 * members * pack.members[0].run.steps

    return turn


def measure(turns: dict[str, Turn], count: int) -> dict[str, tuple[float, float, float]]:
    """Microseconds a member-step, wall and CPU, and the seconds of the first turn, by name."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    first = {}
    for name, turn in turns.items():
        began = time.perf_counter()
        turn()
        first[name] = time.perf_counter() - began
    for _ in range(count):
        for name, turn in turns.items():
            wall, cpu = time.perf_counter(), time.process_time()
            steps = turn()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            taken[name].append((1e6 * wall / steps, 1e6 * cpu / steps))
    return {
        name: (statistics.median(w for w, _ in found), statistics.median(c for _, c in found), first[name])
        for name, found in taken.items()
    }


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--members", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="the same packs compiled, too")
    parser.add_argument("--ahead", action="store_true", help="the same packs compiled by a process of its own, too")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if asked.device == "cuda" else platform.processor() or platform.machine()
    print(f"torch {torch.__version__}, {asked.device} ({where}), one thread")
    task = tasks.parse({"name": "digits"}).make()
    for model in asked.models:
        turns = {"solo": solo(task, model, asked.device)}
        ways = {"": True, "compiled": asked.compile, "ahead": asked.ahead}
        for how in (how for how, wanted in ways.items() if wanted):
            for members in asked.members:
                name = f"pack of {members}{how and ', '}{how}"
                turns[name] = packed(task, model, members, asked.device, how)
        found = measure(turns, asked.turns)
        print(f"\n{model}\n| | us a member-step | times as fast as solo | first turn, s |\n| --- | --- | --- | --- |")
        for name, (wall, cpu, first) in found.items():
            ratio = f"{found['solo'][0] / wall:.1f} ({found['solo'][1] / cpu:.1f})"
            print(f"| {name} | {wall:.0f} ({cpu:.0f}) | {ratio} | {first:.1f} |", flush=True)


if __name__ == "__main__":
    main()
