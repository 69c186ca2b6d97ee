"""The other side of the benchmarks: plain Ray Tune and plain Optuna as their documentations teach them.

    python scripts/bench/peers.py null --trials 600     # nothing is trained: what scheduling costs
    python scripts/bench/peers.py sweep --trials 60     # the digits sweep with OptunaSearch and ASHA; stores nothing
    python scripts/bench/peers.py optuna --trials 60    # the same by plain Optuna on SQLite, a process on each core

Each prints one line of JSON. Ray's use one Tune trial per configuration, two trials at a time, and keep Tune quiet;
`reuse_actors=True` makes them quicker, `--fresh` leaves it out as Ray's examples do. Nothing of hpo is imported, so
that nothing of hpo is measured.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTED = time.time()
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # TensorBoard alone imports torch in the driver
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning about GPUs that are not there

import optuna  # noqa: E402 (Ray reads the environment when it is imported)
import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import ASHAScheduler, TrialScheduler  # noqa: E402
from ray.tune.search.optuna import OptunaSearch  # noqa: E402

SLOTS = 2
EPOCHS = 20
BATCH = 32


class Watch(tune.Callback):
    """When each trial ended, and how many results came in."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.results = 0

    def on_trial_result(self, **_: Any) -> None:
        """Count it."""
        self.results += 1

    def on_trial_complete(self, **_: Any) -> None:
        """Note the time."""
        self.ends.append(time.time())

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


class Digits(tune.Trainable):
    """An MLP 64-64-10 on scikit-learn's digits: one epoch a step, in plain PyTorch."""

    def setup(self, config: dict[str, Any]) -> None:
        """Load the data once for the actor, then build the first trial."""
        import numpy as np
        import torch
        from sklearn.datasets import load_digits

        torch.set_num_threads(1)
        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))
        x = torch.tensor(pixels[order] / 16, dtype=torch.float32)
        y = torch.tensor(labels[order], dtype=torch.int64)
        self.train_x, self.train_y = x[:1078], y[:1078]
        self.val_x, self.val_y = x[1078:1438], y[1078:1438]
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Build model, optimizer and schedule of a configuration; True tells Tune that the actor can go on."""
        import torch
        from torch import nn

        torch.manual_seed(0)
        dropout = new_config["dropout"]
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 10))
        fill = {
            "kaiming_normal": nn.init.kaiming_normal_,
            "xavier_uniform": nn.init.xavier_uniform_,
            "orthogonal": nn.init.orthogonal_,
        }[new_config["initializer"]]
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                fill(layer.weight)
                nn.init.zeros_(layer.bias)
        self.loss = nn.CrossEntropyLoss(label_smoothing=new_config["label_smoothing"])
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=new_config["lr"], weight_decay=new_config["weight_decay"]
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor(new_config, self.train_x))
        self.new_config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and validate."""
        return {"val_accuracy": self.epoch(), "done": self.iteration + 1 >= EPOCHS}

    def epoch(self) -> float:
        """Train one epoch; accuracy on the validation split."""
        import torch

        self.net.train()
        for rows in torch.randperm(len(self.train_x)).split(BATCH):
            self.optimizer.zero_grad()
            self.loss(self.net(self.train_x[rows]), self.train_y[rows]).backward()
            self.optimizer.step()
            self.schedule.step()
        self.net.eval()
        with torch.no_grad():
            return float((self.net(self.val_x).argmax(1) == self.val_y).float().mean())

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is kept in this benchmark; Tune wants the method to be there."""


def factor(config: dict[str, Any], train_x: Any) -> Callable[[int], float]:
    """The schedule's factor by optimizer step: constant, or a cosine after a linear warmup."""
    import math

    steps = EPOCHS * math.ceil(len(train_x) / BATCH)
    if config["schedule"] == "constant":
        return lambda _: 1.0
    warmup = round(config["warmup_fraction"] * steps)

    def cosine(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    return cosine


def digits_space(trial: optuna.Trial) -> None:
    """The space of scripts/sweeps/digits.yaml, define-by-run as OptunaSearch takes conditional ones."""
    trial.suggest_float("lr", 1e-4, 1.0, log=True)
    trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
    trial.suggest_float("dropout", 0.0, 0.6)
    trial.suggest_float("label_smoothing", 0.0, 0.2)
    trial.suggest_categorical("initializer", ["kaiming_normal", "xavier_uniform", "orthogonal"])
    if trial.suggest_categorical("schedule", ["constant", "cosine"]) == "cosine":
        trial.suggest_float("warmup_fraction", 0.0, 0.1)


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
) -> tuple[tune.ResultGrid, Watch]:
    """One sweep by plain Ray Tune in a Ray of its own, two trials at a time."""
    # whoever imports this file may lie where the workers cannot import it from
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    logging.getLogger("ray").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    watch = Watch()
    by_class = isinstance(trainable, type)
    with tempfile.TemporaryDirectory() as folder:
        grid = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                metric=metric,
                mode=mode,
                search_alg=search,
                scheduler=scheduler,
                num_samples=trials,
                max_concurrent_trials=SLOTS,
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


def digits_sweep(trials: int, seed: int = 0, prunes: bool = True, reuse: bool = True) -> dict[str, Any]:
    """Wall time of this whole process so far, epochs trained and the best value of the digits sweep."""
    sampler = optuna.samplers.TPESampler(seed=seed)
    search = OptunaSearch(digits_space, metric="val_accuracy", mode="max", sampler=sampler)
    scheduler = ASHAScheduler(grace_period=1, reduction_factor=3, max_t=EPOCHS) if prunes else None
    grid, watch = run(Digits, search, scheduler, "val_accuracy", "max", trials, reuse)
    best = grid.get_best_result("val_accuracy", "max", scope="last").metrics["val_accuracy"]
    return {
        "seconds": round(time.time() - process_start(), 2),
        "epochs_trained": watch.results,
        "best": round(best, 4),
        "trials": len(grid),
    }


def optuna_sweep(trials: int, seed: int = 0, prunes: bool = True) -> dict[str, Any]:
    """The same sweep by plain Optuna: TPE and Hyperband on SQLite, a process on each core, as Optuna's tutorial has it.

    Raises SystemExit when a process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/optuna.db"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        optuna.create_study(study_name="digits", storage=url, direction="maximize")
        command = [sys.executable, __file__, "optuna-worker", "--trials", str(trials), "--storage", url]
        command += [] if prunes else ["--no-pruning"]
        workers = [subprocess.Popen([*command, "--seed", str(seed + 1000 * i)]) for i in range(SLOTS)]
        if any(worker.wait() for worker in workers):
            raise SystemExit("a process of plain Optuna failed")
        study = optuna.load_study(study_name="digits", storage=url)
        done = study.get_trials(deepcopy=False)
        return {
            "seconds": round(time.time() - process_start(), 2),
            "epochs_trained": sum(len(trial.intermediate_values) for trial in done),
            "best": round(study.best_value, 4),
            "trials": len(done),
        }


def optuna_worker(trials: int, seed: int, url: str, prunes: bool) -> None:
    """Trials of the shared study until it has enough of them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.HyperbandPruner(2, EPOCHS, 3) if prunes else optuna.pruners.NopPruner()
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.load_study(study_name="digits", storage=url, sampler=sampler, pruner=pruner)
    digits = Digits.__new__(Digits)  # Tune's class without Tune: `setup` and `step` are all that is used
    ready = False

    def objective(trial: optuna.Trial) -> float:
        nonlocal ready
        digits_space(trial)
        (digits.reset_config if ready else digits.setup)(trial.params)
        ready = True
        value = 0.0
        for epoch in range(1, EPOCHS + 1):
            value = digits.epoch()
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    enough = optuna.study.MaxTrialsCallback(trials, states=None)
    study.optimize(objective, callbacks=[enough])


def process_start() -> float:
    """When this process began, imports included, as seconds of time.time()."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except OSError:  # no /proc: the imports before this module are then left out
        return STARTED


def main() -> None:
    """Run one of them and print its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["null", "sweep", "optuna", "optuna-worker"])
    parser.add_argument("--trials", type=int)
    parser.add_argument("--api", choices=["class", "function"], default="class", help="of the null trials")
    parser.add_argument("--seed", type=int, default=0, help="of the sampler of the sweep")
    parser.add_argument("--fresh", action="store_true", help="a new actor for every trial of Ray's sweep")
    parser.add_argument("--no-pruning", action="store_true", help="every trial trains to its end")
    parser.add_argument("--storage", help="of a worker of Optuna's sweep")
    given = parser.parse_args()
    prunes = not given.no_pruning
    if given.what == "null":
        print(json.dumps(null_trials(given.trials or 600, given.api)))
    elif given.what == "sweep":
        print(json.dumps(digits_sweep(given.trials or 60, given.seed, prunes, not given.fresh)))
    elif given.what == "optuna":
        print(json.dumps(optuna_sweep(given.trials or 60, given.seed, prunes)))
    else:
        optuna_worker(given.trials, given.seed, given.storage, prunes)


if __name__ == "__main__":
    main()
