"""The quickstart's sweep, ours beside plain Ray Tune: wall time of the whole command, Ray's start-up included.

    python scripts/bench/digits_sweep.py --repeats 5

The peer: Ray Tune with its OptunaSearch, ASHA (grace 1, factor 3) and reuse_actors=True; it stores nothing. Ours: `hpo
launch` on SQLite with the same pruning rule, successive_halving (min_resource 1, reduction_factor 3). Runs alternate;
the table shows medians, and the epochs that each side trained, since pruning makes them differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna

HERE = Path(__file__).resolve().parent
SWEEP = HERE.parent / "sweeps" / "digits.yaml"
PRUNER = "pruner={name: successive_halving, min_resource: 1, reduction_factor: 3}"


def ours(trials: int, seed: int) -> dict[str, Any]:
    """`hpo launch` in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="hpo-bench-") as folder:
        command = [sys.executable, "-m", "hpo", "launch", str(SWEEP), PRUNER, f"seed={seed}", "--quiet"]
        started = time.monotonic()
        url = f"sqlite:///{folder}/hpo.db"
        subprocess.run([*command, "--trials", str(trials), "--storage", url], check=True, capture_output=True)
        seconds = time.monotonic() - started
        found = optuna.load_study(study_name="digits", storage=url)
        epochs = sum(len(trial.intermediate_values) for trial in found.trials)
        return {"seconds": seconds, "epochs_trained": epochs, "best": found.best_value, "trials": len(found.trials)}


def peer(trials: int, seed: int) -> dict[str, Any]:
    """The peer, in a process of its own, timed from outside like ours."""
    command = [sys.executable, str(HERE / "peers.py"), "sweep", "--trials", str(trials), "--seed", str(seed)]
    started = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "seconds": time.monotonic() - started}


def main() -> None:
    """Alternate both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {"hpo launch": [], "ray tune": []}
    for seed in range(arguments.repeats):
        for name, side in (("hpo launch", ours), ("ray tune", peer)):
            runs[name].append(side(arguments.trials, seed))
            print(f"{name:12} {json.dumps(runs[name][-1])}", file=sys.stderr)
    print("| side | seconds, median | epochs trained, median | best val_accuracy, median |\n| --- | --- | --- | --- |")
    middle = {}
    for name, found in runs.items():
        seconds, epochs, best = (
            statistics.median(run[key] for run in found) for key in ("seconds", "epochs_trained", "best")
        )
        middle[name] = seconds
        print(f"| {name} | {seconds:.1f} | {epochs:.0f} | {best:.4f} |")
    ratio = statistics.median(
        a["seconds"] / b["seconds"] for a, b in zip(runs["hpo launch"], runs["ray tune"], strict=True)
    )
    print(f"\nours takes {ratio:.2f}x the peer's time (median of {arguments.repeats} pairs)")


if __name__ == "__main__":
    main()
