"""How many trials of one shape train at once: as many as the user says, or as many as pay, by a short measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hpo.training import Trial, Verdict
from hpo.training.function import Packing
from hpo.training.shape import Shape

if TYPE_CHECKING:
    from hpo.tasks import Task
    from hpo.training.config import TrainingConfig

MOST = 64
FEWEST = 16  # trials that are tried in a pack: of fewer a small sweep is over before measuring has paid
SOLO_STEPS = 4  # of an epoch of the measurement
SOLO_SECONDS = 0.03  # for as long solo steps are measured
SLOW_STEP = 0.008  # seconds: on a CPU such a step is arithmetic, which packs do not save
PACK_STEPS = 12  # of an epoch of the pack that is measured
PACK_EPOCHS = 5  # within the first ones is done what is done once, such as tracing the step
PACK_SECONDS = 0.15  # for such an epoch, if the pack gains nothing
GAIN = 1.15  # what a pack must train more: it also costs memory, and learning later from what others gave
HOPELESS = 1.5  # times as long as the steps take one by one: no epoch after the first will make up for it
SHAPES = 3  # that are measured in one process; the others are taken to be like the last

RowsFor = Callable[[Packing, "TrainingConfig", int], int]
"""How many trials of a shape train at once, of which a config is given; the last: how many the slot may hold.

1: each trains by itself.
"""


def fixed_rows(rows: int) -> RowsFor:
    """The same for every shape."""

    def rows_for(packing: Packing, config: TrainingConfig, share: int) -> int:
        del packing, config, share
        return rows

    return rows_for


def rows_that_pay(note: Callable[[str], None]) -> RowsFor:
    """Measures each shape once in this process, for a fraction of a second: the solo loop against a pack.

    note: told in one line what was found.
    """
    known: dict[Shape, int] = {}

    def rows_for(packing: Packing, config: TrainingConfig, share: int) -> int:
        shape = packing.shape(config)
        if shape not in known:
            if share < FEWEST:
                return 1  # and not for ever: the share may grow
            last = next(reversed(known.values()), None)
            measured_enough = last is not None and len(known) >= SHAPES
            known[shape] = last if last and measured_enough else _measure(packing, config, min(share, MOST), note)
        return known[shape]

    return rows_for


def _measure(packing: Packing, config: TrainingConfig, rows: int, note: Callable[[str], None]) -> int:
    began = time.perf_counter()
    try:
        solo, pack = speeds(packing, config, rows)
    except Exception as error:  # it would raise as well where the trial itself is trained, and there it counts
        note(f"packs were not measured ({type(error).__name__}: {error}); each trial trains by itself")
        return 1
    pays = pack > GAIN * solo
    packed = f"{pack:.0f} in a pack of at most {rows}" if pack else "too slow a step to gain from a pack"
    seconds = time.perf_counter() - began
    how = "training in packs" if pays else "training one by one"
    note(f"{how}: {solo:.0f} steps/s alone, {packed} (measured in {seconds:.2f} s)")
    return MOST if pays else 1


def speeds(packing: Packing, config: TrainingConfig, rows: int) -> tuple[float, float]:
    """Member-steps a second of the solo loop and of a pack, 0 for one that is not worth trying.

    Both on a few examples of the task, since an epoch cannot be left in its middle; the pack of at most `rows` members.
    """
    config = config.model_copy(update={"epochs": 10_000, "seed": 0})
    step = _solo(_on_few(packing, config, SOLO_STEPS), config)
    if packing.device == "cpu" and step > SLOW_STEP:
        return 1 / step, 0.0
    few = _on_few(packing, config, PACK_STEPS)
    rows = min(rows, max(int(PACK_SECONDS / (PACK_STEPS * step)), FEWEST))
    clock, pack = _clock(packing), few.start(config)
    for seed in range(rows):
        pack.admit(config.model_copy(update={"seed": seed}), Trial(seed, seed, _go_on))
    member_steps = rows * _steps(few.task, config)
    fastest = math.inf
    for _ in range(PACK_EPOCHS):
        began = clock()
        pack.epoch()
        fastest = min(fastest, clock() - began)
        if fastest > PACK_SECONDS and fastest > HOPELESS * step * member_steps:
            break
    return 1 / step, member_steps / fastest


def _solo(packing: Packing, config: TrainingConfig) -> float:
    """Seconds of a step."""
    from hpo.training.loop import train_task

    clock = _clock(packing)
    moments: list[float] = []

    def send(step: int, metrics: Mapping[str, float]) -> Verdict:
        del step, metrics
        moments.append(clock())
        enough = len(moments) > 2 and moments[-1] - moments[0] > SOLO_SECONDS
        return Verdict.PRUNED if enough else Verdict.GO_ON

    train_task(config, packing.task, Trial(0, 0, send), packing.device)
    epoch = min(after - before for before, after in pairwise(moments))
    return epoch / _steps(packing.task, config)


def _clock(packing: Packing) -> Callable[[], float]:
    """Seconds; of this thread alone where it does all the work, since other slots' measuring would slow it down."""
    import torch

    alone = packing.device == "cpu" and torch.get_num_threads() == 1
    return time.thread_time if alone else time.perf_counter


def _go_on(step: int, metrics: Mapping[str, float]) -> Verdict:
    del step, metrics
    return Verdict.GO_ON


def _steps(task: Task, config: TrainingConfig) -> int:
    return math.ceil(len(task.train[0]) / config.batch_size)


def _on_few(packing: Packing, config: TrainingConfig, steps: int) -> Packing:
    """The task on so many steps' examples, taken from all over; as a test split the others' classes still count."""
    task = packing.task
    every = max(len(task.train[0]) // (steps * config.batch_size), 1)
    few = replace(task, train=_some(task.train, every), val=_some(task.val, every), test=task.train, metrics=())
    return replace(packing, task=few)


def _some(split: tuple[Any, Any], every: int) -> tuple[Any, Any]:
    x, y = split
    return x[::every], y[::every]
