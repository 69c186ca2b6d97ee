"""What a sweep of the peers is asked for on its command line, and what it prints. Nothing of hpo is imported."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ends import End, climb
from plain import WORKLOADS

STARTED = time.time()


@dataclass(frozen=True)
class Asked:
    """A sweep. gpus: of each slot; 0 trains on the CPU."""

    workload: str
    trials: int
    epochs: int
    seed: int
    prunes: bool
    slots: int
    gpus: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of a sweep."""
    parser.add_argument("--trials", type=int)
    parser.add_argument("--workload", choices=list(WORKLOADS), default="mlp")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--slots", type=int, default=2, help="how many trials at a time")
    parser.add_argument("--gpus", type=float, default=0.0, help="of each slot; a fraction shares one")
    parser.add_argument("--seed", type=int, default=0, help="of the sampler")
    parser.add_argument("--no-pruning", action="store_true", help="every trial trains to its end")


def asked_for(given: argparse.Namespace) -> Asked:
    """What they say."""
    return Asked(
        workload=given.workload,
        trials=given.trials or 60,
        epochs=given.epochs,
        seed=given.seed,
        prunes=not given.no_pruning,
        slots=given.slots,
        gpus=given.gpus,
    )


def summary(epochs: int, best: float, trials: int, ends: list[End]) -> dict[str, Any]:
    """What a sweep prints. ends: of each trial that ended."""
    return {
        "seconds": round(time.time() - process_start(), 2),
        "epochs_trained": epochs,
        "best": round(best, 4),
        "trials": trials,
        "climb": climb(ends),
    }


def process_start() -> float:
    """When this process began, imports included, as seconds of time.time()."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except OSError:  # no /proc: the imports before this module are then left out
        return STARTED
