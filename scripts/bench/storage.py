"""What a trial costs besides its training: hpo against Optuna's own storage, samplers and pruners, in milliseconds.

One trial is an ask with 10 parameters, 20 reports, with a pruner 20 decisions, and a tell; it is never stopped, so that
all 20 come. Nothing is asked ahead. Kinds and sizes take turns, so that a noisy machine hits all of them; the median of
the turns is printed, wall and CPU, and how many times as much RDBStorage takes. RDBStorage has Optuna's cache in front;
its sampler and pruner are Optuna's. On SQLite it has a file of its own in the journal mode it would choose and, without
a pruner, once more the write-ahead log that hpo switches on. `hpo` is the same loop on our storage, sampler and pruner,
the parameters committed before they are used. `hpo, coordinator` is the coordinator of a sweep, one exchange for each
report. The first trial of each kind is not counted: it loads the study and builds the indexes.

    python scripts/bench/storage.py             # both databases; 0, 2,000 and 10,000 finished trials; all searches
    python scripts/bench/storage.py --finished 0 10000 --databases sqlite --searches random tpe+hyperband
    python scripts/bench/storage.py --postgres postgresql://user@host/scratch   # instead of a server of its own
"""

from __future__ import annotations

import argparse
import itertools
import platform
import random
import sqlite3
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import Finished, Report
from hpo.search.plan import Objective, SearchPlan
from hpo.search.pruners import pruners
from hpo.search.samplers import samplers
from hpo.space import Choice, Float, Int, Space
from hpo.storage import StudyStorage, open_storage, resolve

SPACE = Space(
    {
        **{f"x{n}": Float(0.0, 1.0) for n in range(6)},
        "optimizer.lr": Float(1e-6, 1.0, log=True),
        "model.width": Int(1, 128),
        "model.depth": Int(1, 512, log=True),
        "optimizer.name": Choice(["adam", "sgd", "adamw"]),
    }
)
REPORTS = 20
RUNGS = (1, 3, 9)  # of Hyperband with 20 steps; a bracket starts at one of them
Loop = Callable[[int], None]
Key = tuple[int, str]
"""How many trials are finished, and a kind."""
_falling = itertools.count()


@dataclass(frozen=True)
class Search:
    """A sampler with a pruner: Optuna's own, and ours by name."""

    theirs: Callable[[], tuple[BaseSampler, BasePruner]]
    sampler: Any
    pruner: Any


SEARCHES = {
    "random": Search(lambda: (RandomSampler(seed=1), NopPruner()), "random", "none"),
    "random+hyperband": Search(
        lambda: (RandomSampler(seed=1), HyperbandPruner(max_resource=REPORTS)), "random", "hyperband"
    ),
    "random+median": Search(lambda: (RandomSampler(seed=1), MedianPruner()), "random", "median"),
    "tpe+hyperband": Search(
        lambda: (TPESampler(seed=1, multivariate=True, group=True), HyperbandPruner(max_resource=REPORTS)),
        "tpe",
        "hyperband",
    ),
}


def plain(study: optuna.Study, decide: bool, flush: Callable[[], None] = lambda: None) -> Loop:
    """Optuna's own calls, one by one. flush: after the ask, what makes the parameters durable."""

    def loop(trials: int) -> None:
        for _ in range(trials):
            trial = study.ask()
            SPACE.suggest(trial)
            flush()
            for step in range(1, REPORTS + 1):
                trial.report(better(), step)
                if decide and trial.should_prune():
                    raise AssertionError("it was the best at every step")
            study.tell(trial, better())

    return loop


def better() -> float:
    """A value below all before."""
    return -float(next(_falling))


def coordinated(stack: ExitStack, storage: StudyStorage, study: optuna.Study, plan: SearchPlan) -> Loop:
    """What a slot says to the coordinator: each report, and the end with the wish for another trial.

    The last end is told when `stack` is left: a trial that is open would be put back, and asked by the next search.
    """
    live = LiveStudy(study, plan, storage.flush, batch=storage.batch)
    coordinator = Coordinator(live, plan, {"host": "bench"})
    coordinator.open_slot("a")
    said: list[Any] = []
    stack.callback(lambda: coordinator.exchange("a", said, 0))

    def loop(trials: int) -> None:
        for _ in range(trials):
            (given,) = coordinator.exchange("a", said, 1).assignments
            for step in range(1, REPORTS + 1):
                coordinator.exchange("a", [Report(given.number, given.attempt, step, {"loss": better()})], 0)
            said[:] = [Finished(given.number, given.attempt, {"loss": better()})]

    return loop


def fill(storage: StudyStorage, name: str, count: int) -> None:
    """`count` finished trials as Hyperband leaves them: a third COMPLETE, others PRUNED at a rung of their bracket."""
    study = optuna.load_study(study_name=name, storage=storage.optuna, sampler=RandomSampler(seed=0))
    source = optuna.create_study(sampler=RandomSampler(seed=0))
    rng = random.Random(0)
    for _ in range(count):
        trial = source.ask()
        SPACE.suggest(trial)
        first = rng.randrange(3)
        last = REPORTS if rng.random() < 1 / 3 else rng.choice(RUNGS[first:])
        curve = {step: rng.random() + 1.0 / step for step in range(1, last + 1)}
        study.add_trial(
            optuna.trial.create_trial(
                params=trial.params,
                distributions=trial.distributions,
                value=curve[last],
                state=TrialState.COMPLETE if last == REPORTS else TrialState.PRUNED,
                intermediate_values=curve,
                system_attrs={
                    f"completed_rung_{n}": curve[rung] for n, rung in enumerate(RUNGS[first:]) if rung <= last
                },
            )
        )


def kinds(stack: ExitStack, url: str, name: str, search: Search) -> dict[str, Loop]:
    """A loop for each kind. Each has a storage of its own and sees what the others add, as beside other processes."""
    decide = search.pruner != "none"
    loops: dict[str, Loop] = {}
    theirs = {"RDBStorage": resolve(url)}
    if url.startswith("sqlite"):
        theirs = {"RDBStorage": _rollback_copy(url, name), **({} if decide else {"RDBStorage, WAL": resolve(url)})}
    for kind, place in theirs.items():
        sampler, pruner = search.theirs()
        loops[kind] = plain(optuna.load_study(study_name=name, storage=place, sampler=sampler, pruner=pruner), decide)
    plan = SearchPlan(
        study=name,
        space=SPACE,
        objectives=(Objective("loss", "minimize"),),
        sampler=samplers.parse(search.sampler),
        pruner=pruners.parse(search.pruner),
        seed=1,
        max_resource=REPORTS,
        slots=1,
    )
    storages = [stack.enter_context(open_storage(url)) for _ in range(2)]
    studies = [
        optuna.load_study(
            study_name=name,
            storage=storage.optuna,
            sampler=plan.sampler.build(1, SPACE),
            pruner=plan.pruner.build(REPORTS),
        )
        for storage in storages
    ]
    loops["hpo"] = plain(studies[0], decide, storages[0].flush)
    loops["hpo, coordinator"] = coordinated(stack, storages[1], studies[1], plan)
    return loops


def measure(loops: Mapping[Key, Loop], trials: int, turns: int) -> dict[Key, tuple[float, float]]:
    """Wall and CPU milliseconds a trial, each loop in turn."""
    taken: dict[Key, list[tuple[float, float]]] = {key: [] for key in loops}
    for loop in loops.values():
        loop(1)
    for _ in range(turns):
        for key, loop in loops.items():
            wall, cpu = time.perf_counter(), time.process_time()
            loop(trials)
            spent = time.perf_counter() - wall, time.process_time() - cpu
            taken[key].append((1e3 * spent[0] / trials, 1e3 * spent[1] / trials))
    return {
        key: (statistics.median(wall for wall, _ in figures), statistics.median(cpu for _, cpu in figures))
        for key, figures in taken.items()
    }


def _rollback_copy(url: str, name: str) -> str:
    """A copy of an SQLite database in the journal mode that Optuna leaves it in."""
    file = url.removeprefix("sqlite:///")
    copied = f"{tempfile.mkdtemp(dir=Path(file).parent)}/{name}.db"
    with sqlite3.connect(file) as source, sqlite3.connect(copied) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    source.close()
    target.close()
    return f"sqlite:///{copied}"


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


def filled(url: str, search: str, finished: int) -> str:
    """The name of a study with so many finished trials; an empty one is new for each search, a full one is shared."""
    name = f"bench-{finished}" if finished else f"bench-{search}"
    with open_storage(url) as storage:
        if not storage.exists(name):
            storage.create_study(name, ["minimize"])
            fill(storage, name, finished)
    return name


def compare(urls: Mapping[int, str], search: str, trials: int, turns: int) -> None:
    """Print the table of one search. urls: a database for each number of finished trials."""
    with ExitStack() as stack:
        loops = {
            (finished, kind): loop
            for finished, url in urls.items()
            for kind, loop in kinds(stack, url, filled(url, search, finished), SEARCHES[search]).items()
        }
        figures = measure(loops, trials, turns)
    for (finished, kind), (wall, cpu) in figures.items():
        base = figures[finished, "RDBStorage"]
        ratio = f"{base[0] / wall:6.1f}x ({base[1] / cpu:.1f}x)" if kind != "RDBStorage" else ""
        print(f"  {finished:>6} {kind:<18}{wall:8.1f} ({cpu:6.1f}) {ratio}", flush=True)
    least, most = min(urls), max(urls)
    for kind in ("hpo", "hpo, coordinator"):
        share = figures[most, kind][1] / figures[least, kind][1]
        print(f"  {kind}: CPU with {most} finished trials {share:.2f}x of that with {least}", flush=True)


def main() -> None:
    """Measure every kind at every size and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--searches", nargs="+", choices=list(SEARCHES), default=list(SEARCHES))
    parser.add_argument(
        "--finished", nargs="+", type=int, default=[0, 2000, 10000], help="finished trials at the start"
    )
    parser.add_argument("--trials", type=int, default=5, help="trials of one turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each kind")
    parser.add_argument(
        "--postgres", help="URL of a database to use instead of a server of its own; studies stay in it"
    )
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of TPE's groups
    print(
        f"optuna {optuna.__version__}, Python {platform.python_version()}, {platform.machine()}; ms a trial, wall (CPU)"
    )
    with places(asked.databases, asked.postgres) as makers:
        for database, make in makers.items():
            urls = {finished: make() for finished in asked.finished}
            for search in asked.searches:
                print(f"{database}, {search}", flush=True)
                compare(urls, search, asked.trials, asked.turns)


if __name__ == "__main__":
    main()
