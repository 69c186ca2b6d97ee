"""Numbers that change while training: what may be written, what the loop reads, and what follows a metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field

from hpo import yaml12
from hpo.errors import UserError
from hpo.schema import check
from hpo.sweep import Sweep
from hpo.tasks import Task, tasks
from hpo.testing.trials import Answers
from hpo.training import CheckpointFile, TrainingConfig, Verdict, as_paths, lr_curve, paths, train_task, with_paths
from hpo.training.optimizers import optimizers
from hpo.training.over_time import Curves, check_steps, targets
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.schedules import schedules
from hpo.training.sections import STRENGTHS
from hpo.training.slots import OVER_TIME, Now, Slots, Weights

DIRECTIONS = {"val_loss": "minimize", "val_accuracy": "maximize"}
COSINE = {"name": "cosine", "floor": 0.5}
SOFT = "regularization.label_smoothing"


@pytest.fixture(scope="module")
def digits() -> Task:
    return tasks.parse("digits").make()


def movable(path: str, schedule: Any) -> dict[str, Any]:
    """A config in which something stands at `path`, moved by `schedule`."""
    section, _, field = path.partition(".")
    raw = {"schedules": {path: schedule}}
    if section in STRENGTHS:
        return {**raw, path: 1 if paths()[path].kind == "int" else 0.2}
    return {**raw, section: next(name for name, entry in optimizers.entries.items() if field in entry.model_fields)}


@pytest.mark.parametrize("path", list(targets()))
def test_whatever_may_be_moved_is_moved_and_survives_yaml(path: str) -> None:
    config = check(TrainingConfig, movable(path, COSINE))
    assert check(TrainingConfig, yaml12.load(yaml12.dump(config.model_dump(mode="json")), "config")) == config
    assert with_paths(TrainingConfig(), as_paths(config)) == config
    assert set(as_paths(config)) <= set(paths())
    rows = Curves(config, 40, DIRECTIONS).rows
    assert list(rows) == ["optimizer.lr", path]
    assert np.array_equal(rows["optimizer.lr"], lr_curve(config, 40))
    np.testing.assert_allclose(rows[path], rows[path][0] * schedules.parse(COSINE).factors(40))


def test_nested_dotted_short_and_long_forms_are_one() -> None:
    forms: list[dict[str, Any]] = [
        {"schedules": {SOFT: "cosine"}, SOFT: 0.1},
        {"schedules": {"regularization": {"label_smoothing": {"name": "cosine"}}}, SOFT: 0.1},
        {f"schedules.{SOFT}.name": "cosine", SOFT: 0.1},
        {f"schedules.{SOFT}": "cosine", f"schedules.{SOFT}.floor": 0.0, SOFT: 0.1},
    ]
    assert len({check(TrainingConfig, form).model_dump_json() for form in forms}) == 1
    assert len({with_paths(TrainingConfig(), form).model_dump_json() for form in forms}) == 1
    config = check(TrainingConfig, forms[0])
    assert config.model_dump()["schedules"] == {SOFT: schedules.parse("cosine").model_dump()}
    assert paths().find(f"schedules.{SOFT}") == paths()[f"schedules.{SOFT}.name"]


def test_a_changed_name_drops_what_the_old_schedule_had() -> None:
    base = check(TrainingConfig, movable(SOFT, COSINE))
    assert with_paths(base, {f"schedules.{SOFT}.floor": 0.1}).schedules[SOFT] == schedules.parse(
        {"name": "cosine", "floor": 0.1}
    )
    changed = with_paths(base, {f"schedules.{SOFT}.name": "linear"})
    assert changed.schedules[SOFT] == schedules.parse("linear")


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"schedules": {SOFT: "cosine"}}, rf"^base\.schedules\.{SOFT}: has no effect without {SOFT}, which is off"),
    ({"schedules": {f"{SOFT}s": "cosine"}}, rf"^base\.schedules: unknown number to schedule .* mean '{SOFT}'\?"),
    ({"schedules": {SOFT: "cosin"}, SOFT: 0.1}, rf"^base\.schedules\.{SOFT}: unknown schedule .* mean 'cosine'\?"),
    ({"schedules": {SOFT: {"name": "cosine", "flor": 1}}, SOFT: 0.1}, rf"^base\.schedules\.{SOFT}: .* mean 'floor'\?"),
    ({"schedules": {SOFT: {"floor": 1}}, SOFT: 0.1}, rf"^base\.schedules\.{SOFT}: a schedule needs a name"),
    (
        {"schedules": {SOFT: {**COSINE, "floor": 2}}, SOFT: 0.1},
        rf"^base\.schedules\.{SOFT}.*floor: should be less than",
    ),
    ({"schedules": 3}, r"^base\.schedules: must be a mapping such as"),
    ({"schedules": {"regularization": 3}}, r"^base\.schedules: unknown number to schedule 'regularization'"),
]


@pytest.mark.parametrize(("raw", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_key(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as raised:
        check(TrainingConfig, raw, "base")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("moment", [{"name": "linear", "warmup_steps": 50}, {"name": "wsd", "decay_steps": 51}])
def test_a_moment_outside_the_run_names_the_schedule_that_has_it(moment: dict[str, Any]) -> None:
    config = check(TrainingConfig, movable(SOFT, moment))
    for check_it in (check_steps, lambda config, steps: Curves(config, steps, DIRECTIONS)):
        check_it(config, 51)
        with pytest.raises(UserError, match=rf"^schedules\.{SOFT}\.(warmup|decay)_steps: 5[01] "):
            check_it(config, 50)


SWEEP = """
name: moved
task: digits
base: {regularization.label_smoothing: 0.1, schedules: {regularization.label_smoothing: linear}}
space:
  schedules.regularization.label_smoothing:
    choices: {linear: {schedules.regularization.label_smoothing.floor: {low: 0.0, high: 0.5}}, constant: {}}
objective: {metric: val_loss, direction: minimize}
budget: {trials: 2}
"""


def test_a_search_space_varies_a_schedule_by_its_canonical_paths(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    space = Sweep.from_file(tmp_path / "sweep.yaml").search_space
    assert set(space.parameters()) == {f"schedules.{SOFT}.name", f"schedules.{SOFT}.floor"}


@pytest.fixture
def seen() -> Iterator[list[tuple[int, float]]]:
    """What a regularizer that does nothing reads of itself at each step."""
    found: list[tuple[int, float]] = []

    class Watcher(Regularizer):
        """Looks at its own strength."""

        main: ClassVar[str] = "amount"
        amount: float = Field(0.0, ge=0, description="how much", json_schema_extra=OVER_TIME)

        def fill(self, slots: Slots) -> Slots:
            before = slots.penalty

            def penalty(weights: Weights, loss: torch.Tensor, now: Now) -> torch.Tensor:
                found.append((int(now.step), float(self.at(now))))
                return before(weights, loss, now)

            return replace(slots, penalty=penalty)

    regularizers("watcher")(Watcher)
    yield found
    regularizers.remove("watcher")


def test_a_slot_reads_the_table_step_by_step_also_after_a_stop(
    seen: list[tuple[int, float]], digits: Task, tmp_path: Path
) -> None:
    config = check(TrainingConfig, {"epochs": 3, "batch_size": 256, **movable("regularization.watcher", COSINE)})
    wanted = list(enumerate((0.2 * schedules.parse(COSINE).factors(15)).tolist()))
    store = CheckpointFile(tmp_path / "c.pt")
    train_task(config, digits, Answers({1: Verdict.PUT_BACK}).trial(store), "cpu")
    assert seen == wanted[:5]
    train_task(config, digits, Answers().trial(store), "cpu")
    assert seen == wanted
    seen.clear()
    train_task(with_paths(config, {"schedules.regularization.watcher": "constant"}), digits, Answers().trial(), "cpu")
    assert {value for _, value in seen} == {0.2}


def plateau(metric: str = "val_loss") -> Mapping[str, Any]:
    # nothing is ever better by so much, so that every second evaluation halves the rate
    return {"name": "reduce_on_plateau", "metric": metric, "gamma": 0.5, "patience": 1, "threshold": 1e9}


def test_what_follows_a_metric_rewrites_the_rest_of_its_row(digits: Task) -> None:
    curves = Curves(check(TrainingConfig, {"schedule": plateau()}), 12, DIRECTIONS)
    reports: list[dict[str, float]] = []
    for epoch in range(1, 5):
        reports.append({"val_loss": 1.0})
        curves.react(reports, 3 * epoch)
    # the first evaluation is the best; the third is the second in a row that is not better
    assert curves.rows["optimizer.lr"].tolist() == [1e-3] * 9 + [5e-4] * 3
    assert [now["optimizer.lr"] for now in curves.between(8, 10)] == [1e-3, 5e-4]


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy"])
def test_a_plateau_is_the_same_after_a_stop(metric: str, digits: Task, tmp_path: Path) -> None:
    raw = {"schedule": plateau(metric), "epochs": 6, "batch_size": 128, "optimizer": {"name": "sgd", "lr": 0.05}}
    config = check(TrainingConfig, raw)
    whole = train_task(config, digits, Answers().trial(), "cpu")
    for stop in (2, 3, 5):
        store = CheckpointFile(tmp_path / f"{stop}.pt")
        train_task(config, digits, Answers({stop: Verdict.PUT_BACK}).trial(store), "cpu")
        assert train_task(config, digits, Answers().trial(store), "cpu").history == whole.history
    constant = train_task(with_paths(config, {"schedule": "constant"}), digits, Answers().trial(), "cpu")
    assert constant.history[:3] == whole.history[:3], "nothing has happened yet"
    assert constant.history[4:] != whole.history[4:]


def test_a_metric_that_is_not_reported_cannot_be_followed(digits: Task) -> None:
    config = check(TrainingConfig, {"schedule": plateau("val_acuracy")})
    with pytest.raises(UserError, match=r"^schedule\.metric: unknown metric of this task .* mean 'val_accuracy'\?"):
        train_task(config, digits, Answers().trial(), "cpu")
