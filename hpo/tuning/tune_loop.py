"""The call of Tuner.fit: slots as Tune trials, the Watcher behind a callback, an end that does not wait for stragglers.

Tune pickles callbacks and stopper, so these hold a key; the live Watcher stays in this module.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from ray import tune

from hpo.tuning.group import DRIVER, GroupSlot
from hpo.tuning.line import Line
from hpo.tuning.runner import RunPlan, Watcher
from hpo.tuning.searcher import LINES, SlotSearcher
from hpo.tuning.slot import Slot, SlotWork

_WATCHERS: dict[str, Watcher] = {}


class Look(tune.Callback):
    """Calls the Watcher in each round of Tune's loop (about every 0.1 s, also when idle)."""

    def __init__(self, key: str) -> None:
        self._key = key

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """One look at the sweep."""
        del iteration, info
        _WATCHERS[self._key].look(LINES[self._key], trials)


class EndWhenOver(tune.Stopper):
    """Ends Tune's loop when the sweep is over, though a slot may still wait for resources."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stops one slot: slots end by themselves."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Whether the sweep is over."""
        return _WATCHERS[self._key].finished


def fit(line: Line, plan: RunPlan, watcher: Watcher, folder: Path) -> None:
    """Run slots until the coordinator has no more work. Tune's own words are swallowed."""
    key = str(folder)
    _WATCHERS[key], LINES[key] = watcher, line
    device = "cuda" if plan.resources.gpus > 0 else "cpu"
    threads = max(1, int(plan.resources.cpus))
    work = SlotWork(plan.job, plan.files, device, plan.resources, threads, plan.isolate, plan.pack)
    slot, takes = (Slot, plan.resources.as_ray) if plan.resources.workers == 1 else (GroupSlot, DRIVER)
    tuner = tune.Tuner(
        tune.with_resources(slot, tune.PlacementGroupFactory([takes])),
        tune_config=tune.TuneConfig(
            search_alg=SlotSearcher(key, work, plan.resources),
            num_samples=-1,
            reuse_actors=False,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="slots",
            storage_path=str(folder),
            verbose=0,
            callbacks=[Look(key)],
            stop=EndWhenOver(key),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner.fit()
    finally:
        del _WATCHERS[key], LINES[key]
