"""The other side of the benchmarks: plain Ray Tune as its documentation teaches it.

    python scripts/bench/peers.py null --trials 600     # nothing is trained: what scheduling costs
    python scripts/bench/peers.py sweep --trials 60     # a sweep with OptunaSearch and ASHA; stores nothing

Each prints one line of JSON; what a sweep trains is in plain.py. Both use one Tune trial per configuration and keep
Tune quiet; `reuse_actors=True` makes them quicker, `--fresh` leaves it out as Ray's examples do. Nothing of hpo is
imported, so that nothing of hpo is measured. Plain Optuna is in plain_optuna.py.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # TensorBoard alone imports torch in the driver
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning about GPUs that are not there

import optuna
import plain
import ray
from asked import Asked, add_options, asked_for, summary
from plain import WORKLOADS, Training
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

SLOTS = 2


class Watch(tune.Callback):
    """When each trial ended and with which value, and how many results came in."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.ends: list[float] = []
        self.values: list[tuple[float, float]] = []
        self.results = 0

    def on_trial_result(self, **_: Any) -> None:
        """Count it."""
        self.results += 1

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        """Note the time and the last value."""
        self.ends.append(time.time())
        self.values.append((self.ends[-1], trial.last_result.get(self.metric, float("nan"))))

    def steady_rate(self) -> float:
        """Trials a second between the end of the first fifth and the last end: no start-up, no warming."""
        first = len(self.ends) // 5
        return (len(self.ends) - 1 - first) / (self.ends[-1] - self.ends[first])


class NullTrial(tune.Trainable):
    """Five reports and nothing trained."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration."""
        self.x = config["x"]

    def step(self) -> dict[str, Any]:
        """A report that costs nothing; the fifth ends the trial."""
        return {"value": self.x, "done": self.iteration == 4}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration in the same actor."""
        self.x = new_config["x"]
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep; Tune wants the method to be there."""


def null_function(config: dict[str, Any]) -> None:
    """The same five reports by Tune's function API."""
    for _ in range(5):
        tune.report({"value": config["x"]})


class Trained(tune.Trainable):
    """A trial of a workload: one epoch a step, in plain PyTorch."""

    def setup(self, config: dict[str, Any], workload: str, epochs: int, device: str) -> None:
        """Load the data once for the actor, then build the first trial."""
        self.training = Training(workload, epochs, device)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Build the next trial; True tells Tune that the actor can go on."""
        self.training.begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and validate."""
        return {"val_accuracy": self.training.epoch(), "done": self.iteration + 1 >= self.training.epochs}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is kept in this benchmark; Tune wants the method to be there."""


def null_space(trial: optuna.Trial) -> None:
    """One number."""
    trial.suggest_float("x", 0.0, 1.0)


def run(
    trainable: type[tune.Trainable] | Callable[[dict[str, Any]], None],
    search: OptunaSearch,
    scheduler: TrialScheduler | None,
    metric: str,
    mode: str,
    trials: int,
    reuse: bool = True,
    *,
    slots: int = SLOTS,
    gpus: float = 0.0,
) -> tuple[tune.ResultGrid, Watch]:
    """One sweep by plain Ray Tune in a Ray of its own, `slots` trials at a time."""
    # whoever imports this file may lie where the workers cannot import it from
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.cloudpickle.register_pickle_by_value(plain)
    logging.getLogger("ray").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ray.init(address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    watch = Watch(metric)
    by_class = isinstance(trainable, type)
    with tempfile.TemporaryDirectory() as folder:
        grid = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1, "gpu": gpus}),
            tune_config=tune.TuneConfig(
                metric=metric,
                mode=mode,
                search_alg=search,
                scheduler=scheduler,
                num_samples=trials,
                max_concurrent_trials=slots,
                reuse_actors=reuse,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                callbacks=[watch],
                # a checkpoint at each end would be written and thrown away
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False) if by_class else None,
                failure_config=tune.FailureConfig(fail_fast=True),
            ),
        ).fit()
        ray.shutdown()
    failed = len(grid.errors)
    if failed:
        raise SystemExit(f"{failed} of {trials} trials of the peer failed: {grid.errors[0]}")
    return grid, watch


def null_trials(trials: int, api: str = "class", sampler: optuna.samplers.BaseSampler | None = None) -> dict[str, Any]:
    """Finished trials a second in steady state; five reports each, Optuna in memory, random search by default.

    api: `class` is the faster one, `function` the one Ray's documentation begins with.
    """
    search = OptunaSearch(null_space, metric="value", mode="min", sampler=sampler or optuna.samplers.RandomSampler(0))
    _, watch = run({"class": NullTrial, "function": null_function}[api], search, None, "value", "min", trials)
    return {
        "peer": f"ray tune, {api} API",
        "trials": len(watch.ends),
        "reports": watch.results,
        "trials_per_s": round(watch.steady_rate(), 2),
    }


def ray_sweep(asked: Asked, reuse: bool) -> dict[str, Any]:
    """Wall time of this whole process so far, epochs trained and the best value of a sweep by Ray Tune."""
    sampler = optuna.samplers.TPESampler(seed=asked.seed)
    search = OptunaSearch(WORKLOADS[asked.workload].space, metric="val_accuracy", mode="max", sampler=sampler)
    scheduler = ASHAScheduler(grace_period=1, reduction_factor=3, max_t=asked.epochs) if asked.prunes else None
    device = "cuda" if asked.gpus else "cpu"
    trainable = tune.with_parameters(Trained, workload=asked.workload, epochs=asked.epochs, device=device)
    grid, watch = run(
        trainable, search, scheduler, "val_accuracy", "max", asked.trials, reuse, slots=asked.slots, gpus=asked.gpus
    )
    best = grid.get_best_result("val_accuracy", "max", scope="last").metrics["val_accuracy"]
    return summary(watch.results, best, len(grid), watch.values)


def main() -> None:
    """Run one of them and print its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["null", "sweep"])
    parser.add_argument("--api", choices=["class", "function"], default="class", help="of the null trials")
    parser.add_argument("--fresh", action="store_true", help="a new actor for every trial of the sweep")
    add_options(parser)
    given = parser.parse_args()
    if given.what == "null":
        print(json.dumps(null_trials(given.trials or 600, given.api)))
    else:
        print(json.dumps(ray_sweep(asked_for(given), reuse=not given.fresh)))


if __name__ == "__main__":
    main()
