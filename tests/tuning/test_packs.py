"""What a slot does with many trials at once, without Ray: by the real coordinator, or by one that is scripted."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial
from torch import nn

from hpo import Task
from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import Answer, Lost, News, Remark, Report, Returned
from hpo.search.plan import Objective, SearchPlan
from hpo.space import Space
from hpo.training import TrainingConfig
from hpo.training.function import Packing, TaskJob
from hpo.training.packed import Pack
from hpo.tuning.files import TrialFiles
from hpo.tuning.packs import Packs
from hpo.tuning.trainer import Exchange, Trainer
from tests.search.driving import Clock, memory_study, plan

EPOCHS = 4
SPACE = {
    "optimizer.lr": {"low": 1e-3, "high": 0.3, "log": True},
    "regularization.dropout": {"low": 0.0, "high": 0.5},
}
BASE = {"epochs": EPOCHS, "batch_size": 16, "optimizer": {"name": "sgd", "momentum": 0.9}, "model": {"width": 8}}


def make_task(model: Callable[[Any], nn.Module] | None = None) -> Task:
    """Three blobs of points, 96 to train on."""
    random = np.random.default_rng(0)
    y = np.arange(144) % 3
    x = (random.normal(size=(144, 6)) + 1.5 * np.eye(3, 6)[y]).astype("float32")
    return Task(train=(x[:96], y[:96]), val=(x[96:], y[96:]), model=model or own_model)


def own_model(config: Any) -> nn.Module:
    return nn.Sequential(nn.Linear(6, config["width"]), nn.ReLU(), nn.Dropout(), nn.Linear(config["width"], 3))


def packing_of(base: dict[str, Any] | None = None, task: Task | None = None) -> Packing:
    task = task or make_task()
    job = TaskJob(base={**BASE, **(base or {})}, folder=".")
    return Packing(job, task, job.config_for(task), "cpu")


class Desk:
    """The way to a real coordinator of a study in memory, for one slot after another; what was said is kept."""

    def __init__(self, space: dict[str, Any] | None = None, **changes: Any) -> None:
        changes = {"trials": 24, "pack": 8, "objectives": (Objective("val_accuracy", "maximize"),), **changes}
        self.plan: SearchPlan = plan(
            space=Space.parse(space or SPACE, lambda path: None), max_resource=EPOCHS, **changes
        )
        self.study = memory_study(self.plan)
        self.heard: list[list[News]] = []
        self.clock = Clock()
        self._open()

    def _open(self) -> None:
        live = LiveStudy(self.study, self.plan, lambda: None)
        self.coordinator = Coordinator(live, self.plan, clock=self.clock)
        self.slots = 0
        self.next_slot()

    def next_slot(self, lost: bool = False) -> None:
        """The slot has ended, or died, and another begins."""
        if lost:
            self.coordinator.lost(str(self.slots), Lost("process", "killed from outside"))
        self.slots += 1
        self.coordinator.open_slot(str(self.slots))

    def line(self) -> Exchange:
        """What the slot of now speaks through."""
        slot = str(self.slots)

        def exchange(news: Sequence[News], free: int, holds: Collection[int]) -> Answer:
            self.heard.append(list(news))
            return self.coordinator.exchange(slot, news, free, holds)

        return exchange

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @property
    def states(self) -> list[str]:
        return [trial.state.name for trial in self.trials]

    def said(self, kind: type[Any]) -> list[Any]:
        return [item for news in self.heard for item in news if isinstance(item, kind)]


def packs_of(desk: Desk, tmp_path: Path, packing: Packing | None = None, every: float = 60.0, rows: Any = 8) -> Packs:
    files = TrialFiles(str(tmp_path), str(tmp_path / "kept"), every=every)
    return Packs(Trainer(files, desk.line()), packing or packing_of(), rows)


def to_the_end(packs: Packs, rounds: int = 500) -> Answer:
    for _ in range(rounds):
        answer = packs.round()
        if answer.over:
            return answer
    raise AssertionError("it does not end")


def curves(trials: Sequence[FrozenTrial]) -> list[dict[int, float]]:
    return [dict(sorted(trial.intermediate_values.items())) for trial in trials]


def losses(desk: Desk) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for item in desk.said(Report):
        found.setdefault(item.number, []).append(item.metrics["val_loss"])
    return found


def test_packs_give_the_trials_that_train_alone_would(tmp_path: Path) -> None:
    packed, solo = Desk(), Desk(pack="off")
    to_the_end(packs_of(packed, tmp_path / "packed"))
    to_the_end(packs_of(solo, tmp_path / "solo", rows=1))
    assert packed.states == solo.states == ["COMPLETE"] * 24
    assert max(len(pack) for pack in packed.heard) >= 8
    ours, theirs = losses(packed), losses(solo)
    for number in range(24):
        assert ours[number] == pytest.approx(theirs[number], rel=1e-4)
        assert packed.trials[number].params == solo.trials[number].params
        assert list(packed.trials[number].intermediate_values) == [1, 2, 3, 4]


def test_what_is_pruned_is_replaced_while_the_others_go_on(tmp_path: Path) -> None:
    desk = Desk(trials=40, pruner={"name": "successive_halving", "min_resource": 1, "reduction_factor": 2})
    to_the_end(packs_of(desk, tmp_path))
    assert len(desk.states) == 40
    assert set(desk.states) == {"COMPLETE", "PRUNED"}
    for trial in desk.trials:
        steps = list(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))
    busy = desk.coordinator.snapshot().busy
    assert busy is not None
    assert busy > 0.9


def test_a_member_that_diverges_fails_alone(tmp_path: Path) -> None:
    space = {**SPACE, "optimizer.lr": {"choices": [0.05, 0.1, 1e20]}}
    sound, desk = Desk(pack="off", space=space), Desk(space=space)
    to_the_end(packs_of(sound, tmp_path / "a", rows=1))
    to_the_end(packs_of(desk, tmp_path / "b"))
    assert (tmp_path / "b" / "0.log").read_text().count("trains in a pack") == 1
    assert any("diverged: train_loss" in trial.user_attrs.get("reason", "") for trial in desk.trials)
    assert desk.states == sound.states
    assert {"COMPLETE", "FAIL"} == set(desk.states)
    for ours, theirs in zip(desk.trials, sound.trials, strict=True):
        assert ours.user_attrs.get("reason") == theirs.user_attrs.get("reason")
        assert "retries" not in ours.user_attrs
    for number, values in losses(desk).items():
        assert values == pytest.approx(losses(sound)[number], rel=1e-4)


def test_members_put_back_go_on_where_they_were(tmp_path: Path) -> None:
    whole, desk = Desk(trials=8), Desk(trials=8)
    to_the_end(packs_of(whole, tmp_path / "whole"))
    packs = packs_of(desk, tmp_path / "parts")
    for _ in range(3):
        packs.round()
    desk.coordinator.drain("stopped by SIGINT")
    assert to_the_end(packs).over
    assert desk.states == ["WAITING"] * 8
    assert [len(curve) for curve in curves(desk.trials)] == [3] * 8
    desk._open()
    to_the_end(packs_of(desk, tmp_path / "parts"))
    assert desk.states == ["COMPLETE"] * 8
    assert [len(said) for said in losses(desk).values()] == [3 + 4] * 8, (
        "what was resumed tells its past, then one more"
    )
    for number, said in losses(desk).items():
        assert said[-1] == pytest.approx(losses(whole)[number][-1], rel=1e-4)


@pytest.mark.parametrize("every", [0.0, 60.0])
def test_a_dead_slot_loses_no_member(every: float, tmp_path: Path) -> None:
    whole, desk = Desk(trials=8), Desk(trials=8)
    to_the_end(packs_of(whole, tmp_path / "whole"))
    packs = packs_of(desk, tmp_path / "died", every=every)
    for _ in range(3):
        packs.round()
    desk.next_slot(lost=True)
    assert packs.round().refused, "it was given up"
    assert packs._trainer.holds == set()
    to_the_end(packs_of(desk, tmp_path / "died", every=every))
    assert desk.states == ["COMPLETE"] * 8
    assert curves(desk.trials) == curves(whole.trials)
    assert {trial.user_attrs["attempt"] for trial in desk.trials} == {2}


def test_members_of_packs_that_died_twice_train_alone(tmp_path: Path) -> None:
    desk = Desk(trials=6, pack=3)
    for _ in range(2):
        packs = packs_of(desk, tmp_path, rows=3)
        packs.round()
        packs.round()
        assert len(packs._trainer.holds) == 3
        desk.next_slot(lost=True)
    packs = packs_of(desk, tmp_path, rows=3)
    packs.round()
    while any(packs._trainer.holds & {0, 1, 2}):
        packs.round()
    to_the_end(packs)
    assert desk.states == ["COMPLETE"] * 6
    alone = [trial.number for trial in desk.trials if trial.user_attrs.get("alone")]
    assert alone == [0, 1, 2]
    log = (tmp_path / "0.log").read_text()
    assert log.count("trains in a pack") == 2
    assert log.count("# trial 0, attempt") == 3


class Breaking(Pack):
    """Raises with more than `most` members."""

    most = 2
    error = "CUDA out of memory. Tried to allocate 2.00 GiB"

    def epoch(self) -> None:
        if len(self.members) > self.most:
            raise RuntimeError(self.error)
        super().epoch()


@pytest.mark.slow
def test_64_members_that_do_not_fit_go_on_in_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.training.packed.Pack", Breaking)
    monkeypatch.setattr(Breaking, "most", 32)
    whole, desk = Desk(trials=64, pack="off"), Desk(trials=64, pack=64)
    to_the_end(packs_of(whole, tmp_path / "whole", rows=1))
    to_the_end(packs_of(desk, tmp_path / "halves", rows=64))
    assert desk.states == ["COMPLETE"] * 64
    (remark,) = desk.said(Remark)
    assert remark.text == f"a pack of 64 raised RuntimeError: {Breaking.error}; its trials go on 32 at once"
    for number, said in losses(desk).items():
        assert said == pytest.approx(losses(whole)[number], rel=1e-4)


def test_a_pack_that_does_not_fit_goes_on_in_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.training.packed.Pack", Breaking)
    desk = Desk(trials=16)
    to_the_end(packs_of(desk, tmp_path))
    assert desk.states == ["COMPLETE"] * 16
    assert len(desk.said(Returned)) == 8 + 4
    texts = [said.text for said in desk.said(Remark)]
    assert texts == [
        f"a pack of {many} raised RuntimeError: {Breaking.error}; its trials go on {half} at once"
        for many, half in ((8, 4), (4, 2))
    ]
    assert all("deaths" not in trial.user_attrs for trial in desk.trials)


def test_the_one_that_raises_in_every_pack_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one it is shows when all have gone alone; then there are packs again."""

    class Raising(Pack):
        def epoch(self) -> None:
            if any(member.trial.number == 5 for member in self.members):
                raise ValueError("index out of range")
            super().epoch()

    real = Packing.run

    def run(self: Packing, params: Any, trial: Any) -> Any:
        if trial.number == 5:
            raise ValueError("index out of range")
        return real(self, params, trial)

    monkeypatch.setattr("hpo.training.packed.Pack", Raising)
    monkeypatch.setattr(Packing, "run", run)
    desk = Desk(trials=24)
    packs = packs_of(desk, tmp_path)
    to_the_end(packs)
    assert [number for number, state in enumerate(desk.states) if state == "FAIL"] == [5]
    assert desk.trials[5].user_attrs["reason"] == "ValueError: index out of range"
    assert "index out of range" in (tmp_path / "5.log").read_text()
    assert packs._halved is None


def test_a_trial_that_cannot_begin_fails_and_the_others_begin(tmp_path: Path) -> None:
    def model(config: Any) -> nn.Module:
        if config["bad"] == 1:
            raise ValueError("a layer of no width")
        return own_model({"width": 8})

    desk = Desk(space={**SPACE, "model.bad": {"choices": [0, 1]}}, trials=12)
    to_the_end(packs_of(desk, tmp_path, packing_of({"model": {}}, make_task(model))))
    assert set(desk.states) == {"COMPLETE", "FAIL"}
    for trial in desk.trials:
        assert (trial.state.name == "FAIL") == (trial.params["model.bad"] == 1)
    failed = next(trial for trial in desk.trials if trial.state.name == "FAIL")
    assert failed.user_attrs["reason"] == "ValueError: a layer of no width"
    assert "Traceback" in (tmp_path / f"{failed.number}.log").read_text()


def test_each_shape_has_a_pack_and_what_has_none_trains_alone(tmp_path: Path) -> None:
    space = {**SPACE, "model.width": {"choices": [4, 8]}, "optimizer.name": {"choices": ["sgd", "muon"]}}
    base = {"optimizer": {}}
    desk, solo = Desk(space=space), Desk(space=space, pack="off")
    packs = packs_of(desk, tmp_path / "packed", packing_of(base))
    shapes: set[Any] = set()
    while not packs.round().over:
        shapes |= set(packs._packs)
    to_the_end(packs_of(solo, tmp_path / "solo", packing_of(base), rows=1))
    assert desk.states == ["COMPLETE"] * 24
    assert len(shapes) == 2
    (remark,) = desk.said(Remark)
    assert re.match("not packed, each such trial trains by itself: optimizer: muon", remark.text)
    assert desk.coordinator.snapshot().warnings == (remark.text,)
    for number, said in losses(desk).items():
        assert said == pytest.approx(losses(solo)[number], rel=1e-4)


def test_what_a_pack_prints_is_in_the_logs_of_all_its_members(tmp_path: Path) -> None:
    class Speaking(nn.Module):
        def forward(self, x: Any) -> Any:
            if self.training:
                print("a step")
            return x

    def model(config: Any) -> nn.Module:
        return nn.Sequential(Speaking(), own_model({"width": 8}))

    desk = Desk(trials=4, pack=2)
    to_the_end(packs_of(desk, tmp_path, packing_of(task=make_task(model)), rows=2))
    for number in range(4):
        lines = (tmp_path / f"{number}.log").read_text().splitlines()
        assert lines[0].startswith(f"# trial {number}, attempt 1, ")
        assert "a step" in lines
        assert "# trains in a pack: what its members print from here on stands in the logs of all of them" in lines


def test_the_checkpoints_that_lost_their_use_are_deleted(tmp_path: Path) -> None:
    desk = Desk(trials=12, pack=4, keep=1)
    to_the_end(packs_of(desk, tmp_path, every=0.0, rows=4))
    best = max(desk.trials, key=lambda trial: (trial.value, -trial.number))
    left = {int(path.name.split(".")[0]) for path in (tmp_path / "kept").iterdir()}
    assert best.number in left
    assert len(left) <= 2


@pytest.mark.parametrize(("gain", "expected"), [(1.0, 20), (0.0, 1)])
def test_auto_packs_what_pays(gain: float, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.tuning.rows.speeds", lambda packing, config, rows: (1000.0, 3000.0 * gain))
    desk = Desk(trials=80, pack="auto")
    packs = packs_of(desk, tmp_path, rows="auto")
    packs.round()
    assert len(packs._trainer.holds) == (expected if expected > 1 else 0)
    to_the_end(packs)
    assert desk.states == ["COMPLETE"] * 80
    (remark,) = {said.text.split(" (")[0] for said in desk.said(Remark)}
    said = "3000 in a pack of at most 20" if gain else "too slow a step to gain from a pack"
    assert remark == f"training {'in packs' if gain else 'one by one'}: 1000 steps/s alone, {said}"
    assert not desk.coordinator.snapshot().warnings


def test_speeds_are_measured_in_a_moment(tmp_path: Path) -> None:
    from hpo.tuning.rows import speeds

    packing = packing_of()
    config: TrainingConfig = packing.config({"optimizer.lr": 0.1, "regularization.dropout": 0.1}, 3)
    solo, pack = speeds(packing, config, 8)
    assert solo > 0
    assert pack > 0
