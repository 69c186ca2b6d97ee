"""How far behind is what others read of a sweep that runs? A bare Optuna, and the stock dashboard, in seconds.

    python scripts/bench/reading_along.py                 # SQLite and PostgreSQL, with a pruner and without
    python scripts/bench/reading_along.py --trials 60 --databases sqlite --pruners none

`hpo launch` works on trials that report the time of day: what they report says when it was said. Meanwhile a plain
RDBStorage, made anew for each look, reads all trials again and again, and the stock `optuna-dashboard` on the same URL
is asked for the study. A look is as far behind as the oldest report is old, when the look begins, that it does not
show. The table has the worst look and the median one. The dashboard keeps what it read for 2 s under 100 trials, 5 s
under 500 and 10 s above, and asks for nothing meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna

from hpo.storage import resolve
from hpo.testing.storage import PostgresServer

TRAIN = """
import time


def train(config, trial):
    for step in range(1, 11):
        time.sleep(config["pause"])
        trial.report(step, now=time.time())
"""
SWEEP = """
name: watched
train: code.py:train
space: {pause: {low: 0.08, high: 0.12}}
objective: {metric: now, direction: maximize}
sampler: random
concurrency: 2
"""
EVERY = {"bare Optuna": 0.05, "dashboard": 0.1}  # seconds between two looks
Look = Callable[[], set[float]]
"""The moments that are there: everything that trials have reported."""


def bare(url: str) -> Look:
    """What a process with nothing of ours finds."""
    place = resolve(url)

    def look() -> set[float]:
        storage = optuna.storages.RDBStorage(place)
        try:
            trials = optuna.load_study(study_name="watched", storage=storage).get_trials(deepcopy=False)
        finally:
            storage.remove_session()
            storage.engine.dispose()
        return {value for trial in trials for value in trial.intermediate_values.values()}

    return look


def dashboard(address: str) -> Look:
    """What the page of the study is made of."""

    def get(path: str) -> Any:
        with urllib.request.urlopen(f"{address}/api/studies{path}", timeout=20) as answer:
            return json.loads(answer.read())

    def look() -> set[float]:
        (study,) = get("")["study_summaries"]
        trials = get(f"/{study['study_id']}")["trials"]
        return {float(report["value"]) for trial in trials for report in trial["intermediate_values"]}

    return look


@contextmanager
def served(url: str) -> Iterator[str]:
    """The stock dashboard's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), resolve(url), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def follow(look: Look, every: float, ended: threading.Event) -> list[tuple[float, set[float]]]:
    """Looks until the sweep has ended: when each began, and what it showed. Those before the study's start are left."""
    looks: list[tuple[float, set[float]]] = []
    while not ended.wait(every):
        began = time.time()
        try:
            shown = look()
        except (KeyError, ValueError, RuntimeError, OSError, optuna.exceptions.StorageInternalError):
            continue  # there is no database yet, no study in it, or no dashboard
        looks.append((began, shown))
    return looks


def behind(looks: list[tuple[float, set[float]]], reported: set[float]) -> list[float]:
    """For each look the age of the oldest report that it does not show, 0 when it shows all; seconds."""
    return [max(0.0, began - min(reported - shown, default=began)) for began, shown in looks]


def measure(url: str, pruner: str, trials: int) -> dict[str, list[float]]:
    """A sweep, looked at by both until its end."""
    ended = threading.Event()
    looks: dict[str, list[tuple[float, set[float]]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hpo-bench-")))
        (folder / "code.py").write_text(TRAIN)
        (folder / "sweep.yaml").write_text(f"{SWEEP}pruner: {pruner}\nbudget: {{trials: {trials}}}\n")
        optuna.storages.RDBStorage(resolve(url))  # the dashboard wants a database that has tables
        lookers = {"bare Optuna": bare(url), "dashboard": dashboard(stack.enter_context(served(url)))}

        def run(name: str) -> None:
            looks[name] = follow(lookers[name], EVERY[name], ended)

        threads = [threading.Thread(target=run, args=(name,)) for name in lookers]
        for thread in threads:
            thread.start()
        try:
            command = [sys.executable, "-m", "hpo", "launch", "sweep.yaml", "--json"]
            environment = {**os.environ, "HPO_STORAGE": url}
            done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        reported = bare(url)()
    if done.returncode:
        raise SystemExit(f"the sweep failed: {done.stderr}")
    assert len(reported) == 10 * trials, f"{len(reported)} reports of {10 * trials}"
    return {name: behind(looks[name], reported) for name in lookers}


def main() -> None:
    """Measure each database with each pruner and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40, help="of 10 reports, one in about 0.1 s; two at a time")
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--pruners", nargs="+", default=["none", "median"])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("| database | pruner | who looks | looks | behind, median s | at most s |")
    print("| --- | --- | --- | --- | --- | --- |")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hpo-bench-")))
        server = stack.enter_context(PostgresServer()) if "postgresql" in arguments.databases else None
        for database in arguments.databases:
            for pruner in arguments.pruners:
                url = server.database() if server and database == "postgresql" else f"sqlite:///{folder}/{pruner}.db"
                for name, found in measure(url, pruner, arguments.trials).items():
                    middle = statistics.median(found)
                    print(
                        f"| {database} | {pruner} | {name} | {len(found)} | {middle:.2f} | {max(found):.2f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
