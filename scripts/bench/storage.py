"""What storing a trial costs: hpo's storage against Optuna's own, on SQLite and PostgreSQL, in milliseconds.

One trial is an ask with 10 parameters (random, so that nothing is computed), 20 reports and a tell. The storages take
turns, so that a noisy machine hits all of them; the median of the turns is printed. RDBStorage has Optuna's cache in
front; on SQLite it gets a file of its own in the journal mode it would choose, and once more the write-ahead log that
hpo switches on. `exchange` is hpo with the tell and the next ask committed together, as a sweep does it; `lease` is the
same with the run's fencing number looked at in every transaction; `metrics` with four metrics beside each report too.

    python scripts/bench/storage.py                          # both databases, empty and with 2,000 finished trials
    python scripts/bench/storage.py --finished 0 10000 --databases sqlite
    python scripts/bench/storage.py --postgres postgresql://user@host/scratch   # instead of a server of its own
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hpo.storage import Holder, Lease, RunFacts, StudyStorage, open_storage, resolve

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    **{f"x{n}": FloatDistribution(0.0, 1.0) for n in range(6)},
    "optimizer.lr": FloatDistribution(1e-6, 1.0, log=True),
    "model.width": IntDistribution(1, 128),
    "model.depth": IntDistribution(1, 512, log=True),
    "optimizer.name": CategoricalDistribution(("adam", "sgd", "adamw")),
}
REPORTS = 20
METRICS = 4
Loop = Callable[[optuna.Study, int], None]


def one_by_one(study: optuna.Study, trials: int) -> None:
    """Every call by itself."""
    for _ in range(trials):
        trial = study.ask(DISTRIBUTIONS)
        for step in range(REPORTS):
            trial.report(1.0 / (1 + step), step)
        study.tell(trial, 0.5)


def flushed(storage: StudyStorage) -> Loop:
    """As `one_by_one`, with the parameters committed before the suggestion is used, which Optuna's own always does."""

    def loop(study: optuna.Study, trials: int) -> None:
        for _ in range(trials):
            trial = study.ask(DISTRIBUTIONS)
            storage.flush()
            for step in range(REPORTS):
                trial.report(1.0 / (1 + step), step)
            study.tell(trial, 0.5)

    return loop


def exchanged(storage: StudyStorage, metrics: int = 0) -> Loop:
    """The tell and the next ask in one exchange; each report with so many metrics."""

    def loop(study: optuna.Study, trials: int) -> None:
        trial = None
        for _ in range(trials + 1):
            with storage.batch():
                if trial is not None:
                    study.tell(trial, 0.5)
                trial = study.ask(DISTRIBUTIONS)
            for step in range(REPORTS):
                trial.report(1.0 / (1 + step), step)
                if metrics:
                    storage.report_metrics(
                        trial._trial_id, step, {f"metric {n}": 0.5 / (1 + step) for n in range(metrics)}
                    )
        with storage.batch():
            study.tell(trial, 0.5)

    return loop


def fill(storage: StudyStorage, name: str, count: int) -> None:
    """`count` finished trials with everything a real one has."""
    study = optuna.load_study(study_name=name, storage=storage.optuna, sampler=optuna.samplers.RandomSampler(seed=0))
    curve = {step: 1.0 / (1 + step) for step in range(REPORTS)}
    source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        params = source.ask(DISTRIBUTIONS).params
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=DISTRIBUTIONS, value=0.5, intermediate_values=curve)
        )


def take(url: str, name: str) -> Lease:
    """The lease of a study that nobody holds."""
    now = datetime.now(UTC)
    with open_storage(url) as storage:
        return storage.records(name).take(Holder("bench", 0, 0.0, now), None, RunFacts(), now)


def measure(url: str, finished: int, trials: int, turns: int) -> dict[str, tuple[float, float]]:
    """Wall and CPU milliseconds a trial, by kind of storage."""
    name = f"bench-{finished}"
    with open_storage(url) as storage:
        storage.create_study(name, ["minimize"])
        fill(storage, name, finished)
    with ExitStack() as stack:
        # one storage a kind: each sees what the others add, as it would with a second process beside it
        lease = take(url, name)
        ours = [stack.enter_context(open_storage(url, held)) for held in (None, None, lease, lease)]
        kinds: dict[str, tuple[optuna.Study, Loop]] = {}
        if url.startswith("sqlite"):
            kinds["RDBStorage"] = (_load(name, _rollback_copy(url)), one_by_one)
            kinds["RDBStorage, WAL"] = (_load(name, resolve(url)), one_by_one)
        else:
            kinds["RDBStorage"] = (_load(name, resolve(url)), one_by_one)
        began = time.perf_counter()
        studies = [_load(name, storage.optuna) for storage in ours]
        if finished:
            print(f"  loading {finished} trials: {(time.perf_counter() - began) / len(ours):.2f} s", flush=True)
        kinds["hpo"] = (studies[0], flushed(ours[0]))
        kinds["hpo, exchange"] = (studies[1], exchanged(ours[1]))
        kinds["hpo, lease"] = (studies[2], exchanged(ours[2]))
        kinds["hpo, metrics"] = (studies[3], exchanged(ours[3], METRICS))
        taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _ in range(turns):
            for kind, (study, loop) in kinds.items():
                for storage in ours:
                    storage.refresh()
                study.get_trials(deepcopy=False)
                wall, cpu = time.perf_counter(), time.process_time()
                loop(study, trials)
                taken[kind].append(
                    (1e3 * (time.perf_counter() - wall) / trials, 1e3 * (time.process_time() - cpu) / trials)
                )
        return {
            kind: (statistics.median(w for w, _ in figures), statistics.median(c for _, c in figures))
            for kind, figures in taken.items()
        }


def _rollback_copy(url: str) -> str:
    """A copy of an SQLite database in the journal mode that Optuna leaves it in."""
    file = url.removeprefix("sqlite:///")
    copied = f"{file}-plain"
    with sqlite3.connect(file) as source, sqlite3.connect(copied) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    source.close()
    target.close()
    return f"sqlite:///{copied}"


def _load(name: str, storage: str | optuna.storages.BaseStorage) -> optuna.Study:
    study = optuna.load_study(
        study_name=name,
        storage=storage,
        sampler=optuna.samplers.RandomSampler(seed=1),
        pruner=optuna.pruners.NopPruner(),
    )
    study.get_trials(deepcopy=False)
    return study


@contextmanager
def places(databases: list[str], postgres: str | None) -> Iterator[dict[str, Callable[[], str]]]:
    """For each kind of database a function that gives the URL of an empty one."""
    with ExitStack() as stack:
        makers: dict[str, Callable[[], str]] = {}
        if "sqlite" in databases:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            makers["SQLite"] = lambda: f"sqlite:///{tempfile.mkdtemp(dir=folder)}/hpo.db"
        if "postgresql" in databases:
            if postgres is not None:
                makers["PostgreSQL"] = lambda: postgres
            else:
                from hpo.testing.storage import PostgresServer

                makers["PostgreSQL"] = stack.enter_context(PostgresServer()).database
        yield makers


def main() -> None:
    """Measure every storage at every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--finished", nargs="+", type=int, default=[0, 2000], help="finished trials at the start")
    parser.add_argument("--trials", type=int, default=10, help="trials of one turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each storage")
    parser.add_argument(
        "--postgres", help="URL of a database to use instead of a server of its own; studies stay in it"
    )
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(
        f"optuna {optuna.__version__}, Python {platform.python_version()}, {platform.machine()}; ms a trial, wall (CPU)"
    )
    with places(asked.databases, asked.postgres) as makers:
        for database, make in makers.items():
            for finished in asked.finished:
                print(f"{database}, {finished} finished trials", flush=True)
                figures = measure(make(), finished, asked.trials, asked.turns)
                base = figures["RDBStorage"]
                for kind, (wall, cpu) in figures.items():
                    ratio = f"{base[0] / wall:6.1f}x ({base[1] / cpu:.1f}x)" if kind != "RDBStorage" else ""
                    print(f"  {kind:<16}{wall:9.1f} ({cpu:6.1f}) {ratio}", flush=True)


if __name__ == "__main__":
    main()
