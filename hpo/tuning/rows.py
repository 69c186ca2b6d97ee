"""How many trials of one shape train at once: as many as the user says, or as many as pay, by a short measurement.

What was measured is remembered in SQL, by whoever asks and tells for this process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hpo.errors import one_line
from hpo.search.messages import Measured
from hpo.training import Trial, Verdict
from hpo.training.function import Packing
from hpo.training.shape import Shape
from hpo.tuning.speed_key import speed_key

if TYPE_CHECKING:
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


class RowsThatPay:
    """Finds it out once in this process for each shape: from what is remembered, or by measuring for a moment.

    ask: what was measured under a key before. tell: told what is measured now. note: told in one line what was found.
    """

    def __init__(
        self,
        ask: Callable[[str], Measured | None],
        tell: Callable[[Measured], None],
        note: Callable[[str], None],
    ) -> None:
        self._ask, self._tell, self._note = ask, tell, note
        self._rows: dict[Shape, int] = {}
        self._figures: dict[Shape, Measured] = {}
        self._measurements = 0

    def __call__(self, packing: Packing, config: TrainingConfig, share: int) -> int:
        """See RowsFor."""
        shape = packing.shape(config)
        if shape not in self._rows:
            if share < FEWEST:
                return 1  # and not for ever: the share may grow
            self._rows[shape] = self._find_out(packing, config, min(share, MOST))
        return self._rows[shape]

    def did_not_fit(self, shape: Shape, most: int) -> None:
        """A pack ran out of memory, and goes on with `most` trials: those that come after begin there."""
        figures = self._figures.get(shape)
        if figures is not None:
            self._figures[shape] = replace(figures, most=most)
            self._tell(self._figures[shape])

    def _find_out(self, packing: Packing, config: TrainingConfig, rows: int) -> int:
        try:
            key = speed_key(packing, config)
        except Exception as error:
            return self._failed(error)
        figures = self._ask(key)
        if figures is not None and _still_tells(figures, rows):
            how = f"measured on {figures.measured:%Y-%m-%d}"
        elif self._measurements >= SHAPES:
            return next(reversed(self._rows.values()))
        else:
            self._measurements += 1
            began = time.perf_counter()
            try:
                solo, pack = speeds(packing, config, rows)
            except Exception as error:
                return self._failed(error)
            how = f"measured in {time.perf_counter() - began:.2f} s"
            most = None if figures is None else figures.most
            figures = Measured(key, solo, pack, rows, most, datetime.now(UTC))
            self._tell(figures)
        self._figures[packing.shape(config)] = figures
        self._note(_in_words(figures, how))
        return min(figures.most or MOST, MOST) if _pays(figures) else 1

    def _failed(self, error: Exception) -> int:
        """It would raise as well where the trial itself is trained, and there it counts."""
        self._note(f"packs were not measured ({one_line(error)}); each trial trains by itself")
        return 1


def _pays(figures: Measured) -> bool:
    return figures.pack > GAIN * figures.solo


def _still_tells(figures: Measured, rows: int) -> bool:
    """Whether a pack of `rows` need not be measured: what a small one did not gain, a larger one may."""
    return _pays(figures) or not figures.pack or rows <= figures.members


def _in_words(figures: Measured, how: str) -> str:
    pack, members = figures.pack, figures.members
    packed = f"{pack:.0f} in a pack of at most {members}" if pack else "too slow a step to gain from a pack"
    fits = "" if figures.most is None else f", of which {figures.most} fit in memory"
    chosen = "training in packs" if _pays(figures) else "training one by one"
    return f"{chosen}: {figures.solo:.0f} steps/s alone, {packed}{fits} ({how})"


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
    member_steps = rows * config.steps_of(len(few.task.train[0]))
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
    return epoch / config.steps_of(len(packing.task.train[0]))


def _clock(packing: Packing) -> Callable[[], float]:
    """Seconds; of this thread alone where it does all the work, since other slots' measuring would slow it down."""
    import torch

    alone = packing.device == "cpu" and torch.get_num_threads() == 1
    return time.thread_time if alone else time.perf_counter


def _go_on(step: int, metrics: Mapping[str, float]) -> Verdict:
    del step, metrics
    return Verdict.GO_ON


def _on_few(packing: Packing, config: TrainingConfig, steps: int) -> Packing:
    """The task on so many steps' examples, taken from all over; as a test split the others' classes still count."""
    task = packing.task
    every = max(len(task.train[0]) // (steps * config.batch_size), 1)
    x, y = _some(task.train, every)
    whole = steps * config.batch_size  # no small last batch that the task has not: batch norm may not take it
    few = replace(task, train=(x[:whole], y[:whole]), val=_some(task.val, every), test=task.train, metrics=())
    return replace(packing, task=few)


def _some(split: tuple[Any, Any], every: int) -> tuple[Any, Any]:
    x, y = split
    return x[::every], y[::every]
