"""What slots measured: asked for and told in exchanges, kept in SQL for the runs after."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hpo.holding import this_process
from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import Asked, Measured
from hpo.search.speeds import Speeds
from hpo.storage import RunFacts, open_storage
from hpo.tuning.source import SqlStudy
from tests.search.driving import Sweep, plan

NOW = datetime.now(UTC)
FIGURES = Measured("what, where", 100.0, 800.0, 64, None, NOW)


def test_what_one_slot_measured_the_next_need_not() -> None:
    sweep = Sweep(plan(slots=2))
    given = sweep.one("a")
    exchange = sweep.coordinator.exchange
    assert exchange("a", [Asked("what, where"), Asked("another")], 0).measured == ()
    assert exchange("a", [FIGURES], 0).measured == ()
    assert exchange("b", [Asked("another"), Asked("what, where")], 0).measured == (FIGURES,)
    assert exchange("c", [Asked("what, where")], 0).measured == (), "no slot of ours"
    sweep.report(given, 1, 0.5)
    sweep.finish(given)
    assert sweep.states == ["COMPLETE"]


def test_another_study_finds_it_in_sql(tmp_path: Path) -> None:
    url, wanted = f"sqlite:///{tmp_path / 'study.db'}", plan()
    answers = []
    for name in ("first", "second"):
        with open_storage(url) as made:
            made.create_study(name, ["maximize"])
            lease = made.records(name).take(this_process("local"), None, RunFacts(), NOW)
        opened = SqlStudy(url, name, lease).open()
        live = LiveStudy(opened.study, wanted, opened.flush, speeds=Speeds(opened.recall, opened.keep))
        coordinator = Coordinator(live, wanted)
        coordinator.open_slot("a")
        answers.append(coordinator.exchange("a", [Asked(FIGURES.key)], 0).measured)
        if name == "first":
            coordinator.exchange("a", [FIGURES], 0)
        opened.close()
    assert answers == [(), (FIGURES,)]
