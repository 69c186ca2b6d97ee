"""Whole sweeps of digits, ours with packs and without beside Ray Tune and Optuna: start-up included, in seconds.

    python scripts/bench/packs.py                                   # 60 trials of 20 epochs, each side's own pruning
    python scripts/bench/packs.py --trials 512 --repeats 3 --sides "ray tune, reuse" "hpo, packs"
    python scripts/bench/packs.py --no-pruning                      # every trial trains to its end

ray tune: with its OptunaSearch and ASHA, a new actor for every trial as its examples do; `reuse`: reuse_actors=True.
optuna: TPE and Hyperband on SQLite, a process on each core. hpo: `hpo launch` on SQLite with two slots, `pack: off` or
auto, with the pruning rule of the peer it stands beside: successive halving (Ray's ASHA), or Hyperband (Optuna's).
Sides alternate; medians are printed. CPU seconds are those of the whole machine meanwhile, so it must be quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

HERE = Path(__file__).resolve().parent
SWEEP = HERE.parent / "sweeps" / "digits.yaml"
STEPS = 34  # of an epoch
RULES = {
    "ray tune": "{name: successive_halving, min_resource: 1, reduction_factor: 3}",
    "optuna": "{name: hyperband, min_resource: 2, reduction_factor: 3}",
}
Run = dict[str, Any]
Side = Callable[[int, int, bool], Run]
"""(trials, seed, whether it prunes) -> seconds, epochs_trained, best, trials."""


def peer(*command: str) -> Side:
    """A side of peers.py, timed from outside like ours."""

    def run(trials: int, seed: int, prunes: bool) -> Run:
        asked = [*command, "--trials", str(trials), "--seed", str(seed), *([] if prunes else ["--no-pruning"])]
        done = subprocess.run(
            [sys.executable, str(HERE / "peers.py"), *asked], check=True, capture_output=True, text=True
        )
        found: Run = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    return run


def ours(pack: str, rule: str) -> Side:
    """`hpo launch` in an empty folder."""

    def run(trials: int, seed: int, prunes: bool) -> Run:
        pruner = f"pruner={rule if prunes else 'none'}"
        with tempfile.TemporaryDirectory(prefix="hpo-bench-") as folder:
            url = f"sqlite:///{folder}/hpo.db"
            asked = [str(SWEEP), pruner, f"seed={seed}", f"pack={pack}", "--quiet", "--trials", str(trials)]
            command = [sys.executable, "-m", "hpo", "launch", *asked, "--storage", url]
            subprocess.run(command, check=True, capture_output=True, cwd=folder)
            found = optuna.load_study(study_name="digits", storage=url)
            done = found.get_trials(deepcopy=False)
            epochs = sum(len(trial.intermediate_values) for trial in done)
            return {"epochs_trained": epochs, "best": found.best_value, "trials": len(done)}

    return run


SIDES: dict[str, Side] = {
    "ray tune": peer("sweep", "--fresh"),
    "ray tune, reuse": peer("sweep"),
    "optuna": peer("optuna"),
    "hpo, no packs, ASHA": ours("off", RULES["ray tune"]),
    "hpo, packs, ASHA": ours("auto", RULES["ray tune"]),
    "hpo, no packs, Hyperband": ours("off", RULES["optuna"]),
    "hpo, packs, Hyperband": ours("auto", RULES["optuna"]),
}


def machine_seconds() -> float:
    """CPU seconds that this machine has worked since it was started; 0 where nothing says so."""
    try:
        user, nice, system = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:4]
    except OSError:
        return 0.0
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def timed(side: Side, trials: int, seed: int, prunes: bool) -> Run:
    """A run with its wall and CPU seconds."""
    began, worked = time.monotonic(), machine_seconds()
    found = side(trials, seed, prunes)
    return {**found, "seconds": time.monotonic() - began, "cpu": machine_seconds() - worked}


def show(runs: dict[str, list[Run]]) -> None:
    """The table of medians, and how many times as long each side takes as ours with packs and its pruning rule."""
    print("| side | seconds | epochs trained | member-steps a second | CPU s a trial | best val_accuracy |")
    print("| --- | --- | --- | --- | --- | --- |")
    middle = {}
    for name, found in runs.items():
        seconds, epochs, cpu, best = (
            statistics.median(run[key] for run in found) for key in ("seconds", "epochs_trained", "cpu", "best")
        )
        middle[name] = seconds
        rate, own = epochs * STEPS / seconds, cpu / found[0]["trials"]
        print(f"| {name} | {seconds:.1f} | {epochs:.0f} | {rate:.0f} | {own:.2f} | {best:.4f} |")
    for name in middle:
        ours = "hpo, packs, Hyperband" if name == "optuna" or "Hyperband" in name else "hpo, packs, ASHA"
        if ours in middle and name != ours:
            ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs[name], runs[ours], strict=True)]
            print(f"{name}: {statistics.median(ratios):.2f}x the time of {ours}")


def main() -> None:
    """Alternate the sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES), metavar="SIDE")
    parser.add_argument("--no-pruning", action="store_true")
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, optuna {optuna.__version__}, {os.cpu_count()} cores")
    runs: dict[str, list[Run]] = {name: [] for name in asked.sides}
    for seed in range(asked.repeats):
        for name in asked.sides:
            runs[name].append(timed(SIDES[name], asked.trials, seed, not asked.no_pruning))
            print(f"{name:24} {json.dumps(runs[name][-1])}", file=sys.stderr, flush=True)
    show(runs)


if __name__ == "__main__":
    main()
