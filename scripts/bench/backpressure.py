"""Many members that report once a second to one coordinator: does it keep up, and how long does a decision take?

    python scripts/bench/backpressure.py                 # 1,000 members in slots of 64, one minute, both databases
    python scripts/bench/backpressure.py --members 2000 --sampler tpe --pruner median --databases sqlite

The coordinator and the storage are the real ones, in this process; slots are calls of `exchange`, each due once a
second with a report of every member it holds, spread evenly over the second, and the driver's `tick` five times a
second. A member whose trial is pruned or done gets another one in the same call. A decision's latency counts from the
moment its report was due, so a coordinator that falls behind shows. Another process looks all the time how many
intermediate values the database holds: how late is a report there, counted from the call that brought it? Afterwards a
stock Optuna reads what is in the database. cpu: the share of one core that all of this takes but the other process.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa

from hpo.holding import this_process
from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import Assignment, Finished, News, Report
from hpo.search.plan import Objective, SearchPlan
from hpo.search.pruners import pruners
from hpo.search.samplers import samplers
from hpo.space import Float, Space
from hpo.storage import RunFacts, StudyStorage, open_storage, resolve
from hpo.testing.storage import PostgresServer
from hpo.training import Verdict

ROWS = 64
STEPS = 40  # reports of a trial that is not pruned
TICK = 0.2
NAME = "pressed"
LOOK_EVERY = 0.01
# ids are given in order and never skipped here, and the largest is found at once however many there are
COUNT = sa.text("SELECT max(trial_intermediate_value_id) FROM trial_intermediate_values")


@dataclass
class Found:
    """What was measured. Latencies in milliseconds; pending: changes not yet in SQL, after each second.

    late: until a report was seen in SQL.
    """

    database: str
    members: int
    slots: int
    seconds: float
    reports: int = 0
    ended: int = 0
    stored_reports: int = 0
    stored_metrics: int = 0
    median: float = 0.0
    p95: float = 0.0
    worst: float = 0.0
    late_median: float = 0.0
    late_p95: float = 0.0
    late_worst: float = 0.0
    cpu: float = 0.0
    pending: list[int] = field(default_factory=list)


@dataclass
class Member:
    """A trial in training. step: reported last."""

    given: Assignment
    step: int = 0

    def news(self) -> News:
        """Its next report, or its end."""
        number, attempt = self.given.number, self.given.attempt
        if self.step == STEPS:
            return Finished(number, attempt)
        self.step += 1
        score = float(self.given.params["x"]) * (1 - math.exp(-self.step / 10)) + 0.01 * math.sin(number + self.step)
        return Report(number, attempt, self.step, {"score": score, "loss": 1 - score})


class Onlooker:
    """Another process that counts the reports in the database while they come."""

    def __init__(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_look, args=(resolve(url), there))
        self._process.start()
        self._here.recv()  # it has looked once

    def seen(self) -> list[tuple[float, int]]:
        """When it looked, as time.monotonic() is on this machine, and how many there were; then it ends."""
        self._here.send(None)
        looks: list[tuple[float, int]] = self._here.recv()
        self._process.join()
        return looks


def _look(url: str, there: Connection) -> None:
    looks: list[tuple[float, int]] = []
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        while not there.poll(LOOK_EVERY):
            count = int(connection.scalar(COUNT) or 0)
            looks.append((time.monotonic(), count))
            if len(looks) == 1:
                there.send(None)
    engine.dispose()
    there.send(looks)


def lateness(told: Sequence[tuple[float, int]], looks: Sequence[tuple[float, int]]) -> list[float]:
    """Milliseconds until each call's reports were seen, sorted. told: when each came, and how many had by then."""
    found, look = [], 0
    for moment, count in told:
        while look < len(looks) and looks[look][1] < count:
            look += 1
        found.append(1000 * (looks[look][0] - moment) if look < len(looks) else math.inf)
    return sorted(found)


class Swarm:
    """Slots full of members, and the coordinator that they report to."""

    def __init__(self, coordinator: Coordinator, members: int) -> None:
        self.coordinator = coordinator
        self.reports = 0
        self.rows = [min(ROWS, members - first) for first in range(0, members, ROWS)]
        self.held: list[list[Member]] = [[] for _ in self.rows]
        for slot in range(len(self.rows)):
            coordinator.open_slot(str(slot))
            self.round(slot)  # the first trials are handed out before the clock runs

    def round(self, slot: int) -> int:
        """One exchange of a slot; how many reports were decided."""
        held = self.held[slot]
        news = [member.news() for member in held]
        staying = [member for member, said in zip(held, news, strict=True) if isinstance(said, Report)]
        holds = [member.given.number for member in staying]
        free = self.rows[slot] - len(staying)
        answer = self.coordinator.exchange(str(slot), news, free, holds)
        decided = zip(staying, answer.verdicts, strict=True)
        self.held[slot] = [member for member, verdict in decided if verdict is Verdict.GO_ON]
        self.held[slot] += [Member(given) for given in answer.assignments]
        self.reports += len(staying)
        return len(staying)


def measure(url: str, arguments: argparse.Namespace) -> Found:
    """A study of its own on a database, pressed for some seconds."""
    plan = SearchPlan(
        study=NAME,
        space=Space({"x": Float(0.0, 1.0), "lr": Float(1e-5, 1.0, log=True)}),
        objectives=(Objective("score", "maximize"),),
        sampler=samplers.parse(arguments.sampler),
        pruner=pruners.parse(arguments.pruner),
        seed=0,
        max_resource=STEPS,
        trials=10**7,
        slots=math.ceil(arguments.members / ROWS),
        pack=ROWS,
    )
    with open_storage(url) as made:
        made.create_study(NAME, ["maximize"])
        lease = made.records(NAME).take(this_process("local"), None, RunFacts(), datetime.now(UTC))
    found = Found(url.partition(":")[0], arguments.members, plan.slots or 0, arguments.seconds)
    with open_storage(url, lease) as storage:
        study = optuna.load_study(study_name=NAME, storage=storage.optuna)
        live = LiveStudy(study, plan, storage.flush, None, storage.batch, storage.report_metrics, storage.log_event)
        coordinator = Coordinator(live, plan)
        swarm = Swarm(coordinator, arguments.members)
        onlooker = Onlooker(url)
        told = _press(swarm, storage, found)
        found.ended = sum(coordinator.close("done").counts.values())
    late = lateness(told, onlooker.seen())
    found.late_median, found.late_p95, found.late_worst = statistics.median(late), late[int(0.95 * len(late))], late[-1]
    found.stored_reports, found.stored_metrics = stored(url)
    return found


def _press(swarm: Swarm, storage: StudyStorage, found: Found) -> list[tuple[float, int]]:
    """Press; when each call came, and how many reports had come with it and before."""
    pending: Any = storage.optuna
    began, worked = time.monotonic(), time.process_time()
    slots = len(swarm.rows)
    due = [(began + slot / slots, slot) for slot in range(slots)]
    due.append((began + TICK, -1))
    heapq.heapify(due)
    latencies: list[float] = []
    told: list[tuple[float, int]] = []
    while True:
        moment, slot = heapq.heappop(due)
        if moment - began > found.seconds:
            break
        time.sleep(max(moment - time.monotonic(), 0.0))
        if slot < 0:
            swarm.coordinator.tick()
            if moment - began >= len(found.pending) + 1:
                found.pending.append(len(pending._pending))
        else:
            came = time.monotonic()
            decided = swarm.round(slot)
            told.append((came, swarm.reports))
            latencies += [1000 * (time.monotonic() - moment)] * decided
        heapq.heappush(due, (moment + (TICK if slot < 0 else 1.0), slot))
    found.reports = swarm.reports
    found.cpu = (time.process_time() - worked) / (time.monotonic() - began)
    latencies.sort()
    found.median, found.worst = statistics.median(latencies), latencies[-1]
    found.p95 = latencies[int(0.95 * len(latencies))]
    return told


def stored(url: str) -> tuple[int, int]:
    """Intermediate values as a stock Optuna finds them, and metrics beside them."""
    plain = optuna.storages.RDBStorage(url.replace("postgresql://", "postgresql+psycopg://", 1))
    trials = optuna.load_study(study_name=NAME, storage=plain).get_trials(deepcopy=False)
    plain.remove_session()
    plain.engine.dispose()
    with open_storage(url) as storage:
        curves = storage.records(NAME).metrics()
    metrics = sum(len(curve) for of_trial in curves.values() for curve in of_trial.values())
    return sum(len(trial.intermediate_values) for trial in trials), metrics


def report(found: Found) -> str:
    """One line of the table."""
    half = len(found.pending) // 2
    first, second = max(found.pending[:half], default=0), max(found.pending[half:], default=0)
    cells: Sequence[object] = (
        found.database, found.reports, found.ended, found.reports - found.stored_reports, f"{found.median:.0f}",
        f"{found.p95:.0f}", f"{found.worst:.0f}", f"{found.late_median:.0f}", f"{found.late_p95:.0f}",
        f"{found.late_worst:.0f}", f"{100 * found.cpu:.0f} %", f"{first}, {second}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Measure each database and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--pruner", default="hyperband")
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--json", action="store_true", help="one JSON object for each database instead of the table")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lines = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hpo-bench-")))
        for database in arguments.databases:
            url = f"sqlite:///{folder / 'hpo.db'}"
            if database == "postgresql":
                url = stack.enter_context(PostgresServer()).database()
            found = measure(url, arguments)
            print(json.dumps(asdict(found)), file=sys.stdout if arguments.json else sys.stderr)
            lines.append(report(found))
    if not arguments.json:
        print(
            "| database | reports | trials ended | missing in SQL | decision, median ms | 95 % | worst "
            "| in SQL, median ms | 95 % | worst | cpu | most pending |"
        )
        print("|" + " --- |" * 12)
        print("\n".join(lines))


if __name__ == "__main__":
    main()
