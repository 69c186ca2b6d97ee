"""Slots that hold many trials at once: who gets how many, which agree with each other, and which go alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from hpo.search.messages import Finished, Lost, Remark, Report, Returned
from hpo.space import Choice, Float, Int, Space
from tests.search.driving import Sweep, plan

DEATH = Lost("process", "killed from outside")
LAYERS = Space(
    {
        "lr": Float(1e-4, 1.0, log=True),
        "width": Int(8, 128, log=True),
        "kind": Choice({"plain": {}, "deep": {"depth": Int(1, 3), "rate": Float(0.0, 0.5)}}),
    }
)


def held(sweep: Sweep, slot: str) -> int:
    return len(sweep.coordinator._of(slot))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"trials": 60, "slots": 2, "fits": 2}, [8, 7]),
        ({"trials": 60, "slots": None, "fits": 2}, [8, 7]),
        ({"trials": 60, "slots": 4, "fits": 2}, [8, 7]),  # the others do not fit
        ({"trials": 512, "slots": 2, "fits": 2}, [64, 64]),
        ({"trials": None, "seconds": 60.0, "slots": 2, "fits": 2}, [32, 32]),
        ({"trials": 5, "slots": 2, "fits": 2}, [1, 1]),
        ({"trials": 60, "slots": 2, "fits": 2, "pack": 20}, [20, 20]),
        ({"trials": 30, "slots": 2, "fits": 2, "pack": 20}, [15, 15]),
        ({"trials": 60, "slots": 2, "fits": 2, "pack": "off"}, [1, 1]),
    ],
)
def test_each_slot_gets_its_share(changes: dict[str, Any], expected: list[int]) -> None:
    sweep = Sweep(plan(**changes), slots="")
    for slot in "ab":  # the second one comes when the first has taken what it may
        assert sweep.coordinator.wants_slot(held(sweep, "a") > 0)
        sweep.coordinator.open_slot(slot)
        sweep.ask(slot, free=100)
    assert [held(sweep, "a"), held(sweep, "b")] == expected
    assert not sweep.coordinator.wants_slot(2) or sweep.plan.slots == 4


def test_what_is_left_is_shared_too() -> None:
    sweep = Sweep(plan(trials=20, slots=2, fits=2, pack=8))
    first = sweep.ask("a", free=8), sweep.ask("b", free=8)
    assert [len(given) for given in first] == [8, 8]
    ended = [Finished(one.number, 1, {"score": 0.5}) for one in first[0]]
    answer = sweep.coordinator.exchange("a", ended, 8)
    assert len(answer.assignments) == 4
    assert answer.share == 6, "12 trials are left for two slots"


def test_a_slot_that_joins_gets_what_ends_elsewhere() -> None:
    sweep = Sweep(plan(trials=80, slots=None, fits=1), slots="a")
    given = sweep.ask("a", free=100)
    assert len(given) == 20
    assert not sweep.coordinator.wants_slot(1)
    answer = sweep.coordinator.exchange("a", [Finished(0, 1, {"score": 0.5})], 1)
    assert len(answer.assignments) == 1
    sweep.coordinator.open_slot("b")
    answer = sweep.coordinator.exchange("a", [Finished(n, 1, {"score": 0.5}) for n in (1, 2)], 2)
    assert (len(answer.assignments), answer.share) == (0, 10)
    assert len(sweep.ask("b", free=100)) == 2


def test_the_trials_of_one_answer_differ() -> None:
    for sampler in ("tpe", {"name": "tpe", "multivariate": False, "group": False}):
        sweep = Sweep(
            plan(trials=160, pack=32, slots=1, sampler=sampler, space=Space({"x": Float(0.0, 1.0)})), slots="a"
        )
        for _ in range(24):
            given = sweep.one()
            sweep.report(given, 1, -abs(given.params["x"] - 0.3))
            sweep.finish(given)
        values = sorted(one.params["x"] for one in sweep.ask("a", free=32))
        assert len(values) == 32
        assert min(after - before for before, after in pairwise(values)) > 1e-6


def test_packs_agree_on_what_gives_them_their_shape() -> None:
    structural = frozenset({"width", "kind", "depth"})
    sweep = Sweep(plan(trials=48, pack=4, slots=1, space=LAYERS, structural=structural), slots="a")
    agreed = []
    for _ in range(5):
        given = sweep.ask("a", free=4)
        shapes = {tuple(sorted((k, v) for k, v in one.params.items() if k in structural)) for one in given}
        assert len(given) == 4
        assert len(shapes) == 1
        assert len({one.params["lr"] for one in given}) == 4
        agreed += shapes
        sweep.coordinator.exchange("a", [Finished(one.number, 1, {"score": 0.5}) for one in given], 0)
    assert len(set(agreed)) > 2, "the next four agree on something else"
    assert not any("fixed_params" in trial.system_attrs for trial in sweep.study.trials)


def test_trials_that_train_one_by_one_need_not_agree() -> None:
    sweep = Sweep(plan(trials=48, pack="auto", slots=1, space=LAYERS, structural=frozenset({"width"})), slots="a")
    widths = []
    for _ in range(8):
        given = sweep.one()
        widths.append(given.params["width"])
        sweep.finish(given, score=0.5)
    assert len(set(widths)) > 4


def test_trials_put_back_keep_their_own_structure() -> None:
    sweep = Sweep(plan(trials=48, pack=4, slots=1, space=LAYERS, structural=frozenset({"width"})))
    first, second = sweep.ask("a", free=4), sweep.ask("b", free=4)
    sweep.coordinator.lost("a", DEATH)
    sweep.coordinator.exchange("b", [Finished(one.number, 1, {"score": 0.5}) for one in second], 0)
    again = sweep.ask("b", free=4)
    assert [one.params for one in again] == [one.params for one in first]


def test_trials_that_a_slot_returns_go_on_without_blame() -> None:
    sweep = Sweep(plan(trials=40, pack=4, slots=1), slots="a")
    given = sweep.ask("a", free=4)
    said = [Returned(one.number, 1, "its pack raised MemoryError", alone=one.number == 0) for one in given]
    answer = sweep.coordinator.exchange("a", said, 2)
    assert [(one.number, one.attempt, one.alone) for one in answer.assignments] == [(0, 2, True)]
    assert sweep.ask("a", free=2) == (), "nothing beside one that goes alone"
    assert sweep.reason(1) == "put back: its pack raised MemoryError"
    assert "deaths" not in sweep.trial(0).user_attrs
    sweep.finish(answer.assignments[0], score=0.5)
    assert [(one.number, one.alone) for one in sweep.ask("a", free=2)] == [(1, False), (2, False)]


def test_packs_that_die_are_taken_apart_after_the_second_death() -> None:
    sweep = Sweep(plan(trials=40, pack=3, slots=1), slots="abcdefg")
    for slot in "ab":
        assert [(one.number, one.alone) for one in sweep.ask(slot, free=3)] == [(n, False) for n in range(3)]
        sweep.coordinator.lost(slot, DEATH)
    waiting = sweep.again()  # a new run knows it too
    for slot in "cdefg":
        waiting.coordinator.open_slot(slot)
    assert [[(one.number, one.alone) for one in waiting.ask(slot, free=3)] for slot in "cd"] == [
        [(0, True)],
        [(1, True)],
    ]
    waiting.coordinator.lost("c", DEATH)
    assert waiting.states[:3] == ["FAIL", "RUNNING", "WAITING"]
    assert waiting.reason(0) == "its process died 3 times: killed from outside"
    assert [one.number for one in waiting.ask("e", free=3)] == [2]


def test_a_slot_with_trials_waits_until_it_is_empty_before_it_takes_one_that_goes_alone() -> None:
    sweep = Sweep(plan(trials=40, pack=3, slots=2))
    mine = sweep.ask("a", free=3)
    given = sweep.ask("b", free=1)
    sweep.coordinator.exchange("b", [Returned(given[0].number, 1, "its pack raised", alone=True)], 0)
    ends = [Finished(one.number, 1, {"score": 0.5}) for one in mine]
    assert sweep.coordinator.exchange("a", ends[:2], 2).assignments == ()
    (alone,) = sweep.coordinator.exchange("a", ends[2:], 3).assignments
    assert (alone.number, alone.alone) == (given[0].number, True)


def test_how_busy_the_rows_were() -> None:
    sweep = Sweep(plan(trials=40, pack=4, slots=1), slots="a")
    given = sweep.ask("a", free=4)
    assert sweep.coordinator.snapshot().busy is None
    sweep.coordinator.exchange("a", [Report(one.number, 1, 1, {"score": 0.5}) for one in given], 0)
    assert sweep.coordinator.snapshot().busy == 1.0
    sweep.coordinator.exchange("a", [Finished(one.number, 1) for one in given[:2]], 0)
    sweep.coordinator.exchange("a", [Report(one.number, 1, 2, {"score": 0.5}) for one in given[2:]], 0)
    assert sweep.coordinator.snapshot().busy == 6 / 8


def test_rows_that_no_trial_is_left_for_are_not_idle() -> None:
    sweep = Sweep(plan(trials=4, pack=4, slots=1), slots="a")
    given = sweep.ask("a", free=4)
    sweep.coordinator.exchange("a", [Finished(one.number, 1, {"score": 0.5}) for one in given[:2]], 0)
    sweep.coordinator.exchange("a", [Report(one.number, 1, 1, {"score": 0.5}) for one in given[2:]], 0)
    assert sweep.coordinator.snapshot().busy == 1.0


def test_a_remark_is_heard_once_whichever_slots_make_it() -> None:
    sweep = Sweep(plan(trials=40))
    for slot in "ab":
        said = [Remark("not packed: muon"), Remark("3 steps/s", warning=False)]
        assert sweep.coordinator.exchange(slot, said, 0).verdicts == ()
    assert sweep.coordinator.snapshot().warnings == ("not packed: muon",)
    assert sweep.coordinator.snapshot().warnings == ()
    assert [text for kind, text, _ in sweep.noted if kind == "remark"] == ["not packed: muon", "3 steps/s"]
