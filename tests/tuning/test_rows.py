"""How many trials train at once: measured once, remembered for the slots and runs after."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpo.search.messages import Asked, Measured, Remark
from hpo.training import TrainingConfig
from hpo.training.function import Packing
from hpo.tuning.rows import MOST, RowsThatPay, speeds
from hpo.tuning.speed_key import speed_key
from tests.tuning.test_packs import Breaking, Desk, make_task, own_model, packing_of, packs_of, to_the_end

PARAMS = {"optimizer.lr": 0.1, "regularization.dropout": 0.1}


def config_of(packing: Packing, **params: Any) -> TrainingConfig:
    return packing.config({**PARAMS, **params}, 3)


class Book:
    """What is remembered, and how often was measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, solo: float = 1000.0, pack: float = 3000.0) -> None:
        self.kept: dict[str, Measured] = {}
        self.said: list[str] = []
        self.measured: list[int] = []
        self.figures = (solo, pack)
        monkeypatch.setattr("hpo.tuning.rows.speeds", self.speeds)

    def speeds(self, packing: Packing, config: TrainingConfig, rows: int) -> tuple[float, float]:
        self.measured.append(rows)
        return self.figures

    def rows(self) -> RowsThatPay:
        """Those of a new process."""
        return RowsThatPay(self.kept.get, lambda figures: self.kept.update({figures.key: figures}), self.said.append)


def test_a_process_measures_what_none_before_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    book, packing = Book(monkeypatch), packing_of()
    config = config_of(packing)
    first = book.rows()
    assert [first(packing, config, 80), first(packing, config, 80)] == [MOST, MOST]
    assert book.rows()(packing, config, 20) == MOST
    assert book.measured == [64]
    fresh, remembered = book.said
    figures = "training in packs: 1000 steps/s alone, 3000 in a pack of at most 64"
    assert fresh.startswith(f"{figures} (measured in 0.0")
    assert remembered == f"{figures} (measured on {datetime.now(UTC):%Y-%m-%d})"


def test_a_larger_pack_than_one_that_gained_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    book, packing = Book(monkeypatch, pack=1100.0), packing_of()
    config = config_of(packing)
    assert [book.rows()(packing, config, share) for share in (16, 16, 40, 20)] == [1, 1, 1, 1]
    assert book.measured == [16, 40]
    book.figures = (1000.0, 0.0)  # a step that no pack makes faster
    assert [book.rows()(packing, config, share) for share in (50, 64)] == [1, 1]
    assert book.measured == [16, 40, 50]


def test_few_trials_are_not_even_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    book, packing = Book(monkeypatch), packing_of()
    asked: list[str] = []
    rows = RowsThatPay(lambda key: asked.append(key), lambda figures: None, book.said.append)
    assert rows(packing, config_of(packing), 15) == 1
    assert (asked, book.measured, book.said) == ([], [], [])
    assert rows(packing, config_of(packing), 16) == MOST
    assert len(asked) == 1


def test_three_shapes_are_measured_and_any_number_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    book, packing = Book(monkeypatch), packing_of()
    configs = [config_of(packing, **{"model.width": width}) for width in range(4, 14)]
    for known in (3, 6, 9, 10):
        rows = book.rows()
        assert [rows(packing, config, 64) for config in configs] == [MOST] * 10
        assert len(book.kept) == len(book.measured) == known


def test_the_key_says_what_was_measured() -> None:
    packing = packing_of()
    key = speed_key(packing, config_of(packing))
    assert key == speed_key(packing_of(), config_of(packing, **{"optimizer.lr": 0.01}))
    assert key.endswith(f", torch {torch.__version__}, threads: {torch.get_num_threads()}")
    assert len(key) <= 512
    task = make_task()
    doubles = replace(task, train=(task.train[0].astype("float64"), task.train[1]))

    def deeper(config: Any) -> nn.Module:
        return nn.Sequential(own_model(config), nn.Identity())

    others = [packing_of({"batch_size": 8}), packing_of(task=make_task(deeper)), packing_of(task=doubles)]
    keys = {speed_key(other, config_of(other)) for other in others}
    assert len(keys | {key, speed_key(packing, config_of(packing, **{"model.width": 9}))}) == 5


def test_the_next_slot_asks_instead_of_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book, desk = Book(monkeypatch), Desk(trials=80, pack="auto")
    packs = packs_of(desk, tmp_path, rows="auto")
    packs.round()
    desk.next_slot(lost=True)
    to_the_end(packs_of(desk, tmp_path, rows="auto"))
    assert desk.states == ["COMPLETE"] * 80
    assert book.measured == [20]
    assert len(desk.said(Asked)) == 2
    assert [said.text.rpartition("(")[2][:11] for said in desk.said(Remark)] == ["measured in", "measured on"]


def test_what_ran_out_of_memory_begins_smaller_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(Breaking):
        most = 6

    monkeypatch.setattr("hpo.training.packed.Pack", Small)
    Book(monkeypatch)
    desk = Desk(trials=80, pack="auto")
    packs = packs_of(desk, tmp_path, rows="auto")
    packs.round()
    packs.round()
    packs.round()
    assert [figures.most for figures in desk.said(Measured)] == [None, 10, 5]
    desk.next_slot(lost=True)
    packs = packs_of(desk, tmp_path, rows="auto")
    packs.round()
    assert len(packs._trainer.holds) == 5
    assert ", of which 5 fit in memory (measured on " in desk.said(Remark)[-1].text
    to_the_end(packs)
    assert desk.states == ["COMPLETE"] * 80


def test_batch_norm_is_measured_without_a_last_batch_of_one() -> None:
    def model(config: Any) -> nn.Module:
        return nn.Sequential(own_model(config)[:2], nn.BatchNorm1d(config["width"]), nn.Linear(config["width"], 3))  # type: ignore[index]

    whole = make_task(model)
    x, y = whole.train
    packing = packing_of(task=replace(whole, train=(x[:66], y[:66])))  # every second of them are 4 batches of 8 and one
    assert speeds(packing, packing.config({"batch_size": 8}, 3), 2)[0] > 0
