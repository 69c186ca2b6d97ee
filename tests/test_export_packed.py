"""Trials that trained in a pack: what their exports say, how close `train` comes, what `verify` makes exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo import yaml12
from hpo.errors import NotReproduced, UserError
from hpo.export import digest_of, read_export
from tests.without_ray import run_here

EXAMPLES = 360  # of the validation split
KEYS: dict[str, Any] = {
    "name": "packed",
    "task": "digits",
    "space": {
        "optimizer.lr": {"low": 0.05, "high": 0.3, "log": True},
        "regularization.dropout": {"low": 0, "high": 0.5},
    },
    "objective": {"metric": "val_loss", "direction": "minimize"},
    "budget": {"trials": 4},
    "sampler": "random",
    "pack": 4,
    "base": {"epochs": 8, "batch_size": 32, "model": {"name": "mlp", "width": 32}},
}
BY_ACCURACY = {"metric": "val_accuracy", "direction": "maximize", "at": "last", "step": 8}
AGAIN = "training trial {} of {} again (1 thread) ..."
ONCE_MORE = "another number than in a pack; once more, from weights one ulp {} (1 thread) ..."


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study whose trials all trained in packs."""
    return run_here(KEYS, tmp_path_factory.mktemp("packed"))


@pytest.fixture
def exported(url: str, tmp_path: Path) -> Path:
    """Its winner."""
    hpo.export_best("packed", tmp_path / "best.yaml", storage=url)
    return tmp_path / "best.yaml"


@pytest.fixture(scope="module")
def accuracy(url: str, tmp_path_factory: pytest.TempPathFactory) -> float:
    """The winner's, trained alone."""
    path = tmp_path_factory.mktemp("alone") / "best.yaml"
    hpo.export_best("packed", path, storage=url)
    return hpo.train(path).metrics["val_accuracy"]


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change an export and make its digest fit."""
    content = yaml12.load(path.read_text(), path.name)
    change(content)
    path.write_text(yaml12.dump({**content, "digest": digest_of(content)}))


# ----------------------------------------------------------------------------------------------------------- pack


def test_trials_of_packs_are_marked_and_their_exports_say_so(url: str, exported: Path, tmp_path: Path) -> None:
    trials = hpo.load_study("packed", url).trials
    assert [trial.user_attrs.get("packed") for trial in trials] == [True] * 4
    content = read_export(exported)
    assert (content.packed, content.value_in_study, content.exact) == (True, None, False)
    assert content.value == min(trial.value for trial in trials if trial.value is not None)
    alone = run_here({**KEYS, "name": "alone", "pack": "off", "budget": {"trials": 1}}, tmp_path)
    content = hpo.export_best("alone", tmp_path / "alone.yaml", storage=alone)
    assert "packed" not in hpo.load_study("alone", alone).trials[0].user_attrs
    assert (content.packed, content.exact) == (False, True)


def test_another_number_is_compared_within_what_one_ulp_makes_of_it(exported: Path) -> None:
    said: list[str] = []
    content = read_export(exported)
    result = hpo.train(exported, say=said.append)
    assert result.value is not None
    assert result.value != content.value, "packs round otherwise; were it equal, nothing would be tested here"
    assert said == [AGAIN.format(content.trial, "packed"), ONCE_MORE.format("up")]
    assert result.reproduced
    assert result.tolerance is not None
    assert 0 < abs(result.value - content.value) == result.difference <= result.tolerance
    assert 1e-4 * content.value <= result.tolerance < 0.01 * content.value
    assert result.text().splitlines()[0] == (
        f"reproduced within the tolerance of a packed trial: val_loss {result.value!r}, recorded {content.value!r}, "
        f"difference {result.difference:.3g}, tolerance {result.tolerance:.3g}"
    )
    result.check()
    data = result.data()
    assert (data["reproduced"], data["packed"], data["examples"]) == (True, True, None)
    assert (data["difference"], data["tolerance"], data["value_in_study"]) == (
        result.difference,
        result.tolerance,
        content.value,
    )
    assert set(result.test) == {"test_loss", "test_accuracy", "test_recall", "test_f1"}


def test_a_number_too_far_away_is_not_reproduced(exported: Path) -> None:
    edit(exported, lambda content: content.update(value=content["value"] * 1.05))
    said: list[str] = []
    result = hpo.train(exported, say=said.append)
    assert said[1:] == [ONCE_MORE.format("up"), ONCE_MORE.format("down")]
    assert not result.reproduced
    assert result.tolerance is not None
    apart = f", difference {result.difference:.3g}, tolerance {result.tolerance:.3g}"
    first = f"NOT reproduced: val_loss {result.value!r}, recorded {result.recorded!r}{apart}"
    assert result.text().splitlines()[0] == first
    with pytest.raises(NotReproduced) as error:
        result.check()
    assert str(error.value) == f"val_loss is {result.value!r}, the study has {result.recorded!r}{apart}"


def test_the_same_number_needs_no_second_training(exported: Path) -> None:
    value = hpo.train(exported).value
    edit(exported, lambda content: content.update(value=value))
    said: list[str] = []
    result = hpo.train(exported, say=said.append)
    assert result.text().splitlines()[0] == f"reproduced: val_loss {value!r}, recorded {value!r}"
    assert (result.reproduced, result.difference, result.tolerance) == (True, 0.0, None)
    assert len(said) == 1


@pytest.mark.parametrize(("examples", "reproduced"), [(1, True), (-1, True), (120, False)])
def test_what_counts_examples_is_compared_in_examples(
    exported: Path, accuracy: float, examples: int, reproduced: bool
) -> None:
    value = accuracy - examples / EXAMPLES
    edit(exported, lambda content: content.update(objective=BY_ACCURACY, value=value))
    result = hpo.train(exported)
    assert (result.reproduced, result.examples) == (reproduced, EXAMPLES)
    assert f" ({abs(examples)} of {EXAMPLES} examples), tolerance " in result.text()


def test_options_changed_are_compared_with_nothing(exported: Path) -> None:
    said: list[str] = []
    result = hpo.train(exported, overrides=["epochs=1"], say=said.append)
    assert (result.compared, result.tolerance, result.data()["difference"]) == (False, None, None)
    assert len(said) == 1


# --------------------------------------------------------------------------------------------------------- verify


def test_a_verified_number_is_reproduced_bit_for_bit(url: str, exported: Path) -> None:
    alone, in_study = hpo.train(exported).value, read_export(exported).value
    said: list[str] = []
    path = exported.with_name("verified.yaml")
    content = hpo.export_best("packed", path, storage=url, verify=True, say=said.append)
    assert content == read_export(path)
    assert (content.value, content.value_in_study, content.packed) == (alone, in_study, True)
    assert alone is not None
    assert said == [
        f"training trial {content.trial} of packed by itself (1 thread) ...",
        f"val_loss {alone!r} by itself, {in_study!r} in the study, in a pack: {abs(alone - in_study):.3g} apart",
    ]
    said.clear()
    result = hpo.train(path, say=said.append)
    assert result.text().splitlines()[0] == f"reproduced: val_loss {alone!r}, recorded {alone!r}"
    assert (result.data()["value_in_study"], result.tolerance) == (in_study, None)
    assert len(said) == 1

    edit(path, lambda content: content.update(value=in_study))
    again = hpo.train(path)
    assert again.text().startswith(f"NOT reproduced: val_loss {alone!r}, recorded {in_study!r}\n")
    with pytest.raises(NotReproduced, match=f"val_loss is {alone!r}, the export has {in_study!r}$"):
        again.check()


def test_a_trial_that_trained_alone_is_verified_as_it_was(tmp_path: Path) -> None:
    url = run_here({**KEYS, "pack": "off", "budget": {"trials": 1}}, tmp_path)
    said: list[str] = []
    content = hpo.export_best("packed", tmp_path / "best.yaml", storage=url, verify=True, say=said.append)
    assert (content.packed, content.value_in_study) == (False, content.value)
    assert said[1] == f"val_loss {content.value!r} by itself, {content.value!r} in the study: the same"


def test_a_place_that_cannot_be_written_is_said_before_the_training(url: str, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(UserError, match=r"--output: .* cannot be written"):
        hpo.export_best("packed", tmp_path / "absent" / "best.yaml", storage=url, verify=True, say=said.append)
    assert said == []


def test_exports_of_before_there_were_packs_are_trained_as_ever(tmp_path: Path) -> None:
    url = run_here({**KEYS, "pack": "off", "budget": {"trials": 1}}, tmp_path)
    path = tmp_path / "best.yaml"
    hpo.export_best("packed", path, storage=url)
    edit(path, lambda content: [content.pop(key) for key in ("packed", "value_in_study")])
    result = hpo.train(path)
    assert result.text().startswith(f"reproduced: val_loss {result.value!r}, recorded {result.value!r}\n")
