"""The best configuration as a file that trains again to the same number, by the Python API; see also tests/cli."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from safetensors.torch import load_file, load_model

import hpo
from hpo import yaml12
from hpo.errors import NotFound, NotReproduced, UserError
from hpo.export import digest_of, read_export
from hpo.loader import digest, find, load
from hpo.search.seeds import trial_seed
from hpo.tasks import tasks
from hpo.training import TrainingConfig
from hpo.training.weights import load_network
from tests.launching import Launcher
from tests.without_ray import run_here

LOOP = """
def train(config, trial):
    for step in range(1, 5):
        trial.report(step, score={expression})
    return {returned}
"""

TASK = """
from sklearn.datasets import load_iris
from torch import nn
import hpo


def make_task(token="none"):
    assert token != "none"
    x, y = load_iris(return_X_y=True)
    x = x.astype("float32")
    return hpo.Task(train=(x[::2], y[::2]), val=(x[1::2], y[1::2]), model=model)


def model(config):
    assert config["key"] == "0x5ecret"
    return nn.Sequential(nn.Dropout(), nn.Linear(4, 3))
"""


def digits_keys(**changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "task": "digits",
        "space": {"optimizer.lr": {"low": 0.05, "high": 0.5, "log": True}},
        "objective": {"metric": "val_accuracy", "direction": "maximize"},
        "budget": {"trials": 4},
        "sampler": "random",
        "base": {"epochs": 4, "batch_size": 64, "model": {"name": "mlp", "width": 16}},
        **changes,
    }


def loop_keys(folder: Path, expression: str = "config['x'] * step", returned: str = "None", **changes: Any) -> Any:
    (folder / "code.py").write_text(LOOP.format(expression=expression, returned=returned))
    return {
        "name": "loop",
        "train": "code.py:train",
        "space": {"x": {"low": 0.1, "high": 1.0}},
        "objective": {"metric": "score", "direction": "maximize"},
        "budget": {"trials": 3},
        "sampler": "random",
        "base": {"rate": 0.5},
        **changes,
    }


@pytest.fixture(scope="module")
def exported(digits: tuple[Launcher, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The winner of the launched study of digits, as a file."""
    path = tmp_path_factory.mktemp("exported") / "best.yaml"
    hpo.export_best("digits", path, storage=digits[0].url)
    return path


# ------------------------------------------------------------------------------------------- what an export holds


def test_an_export_holds_all_it_takes(exported: Path, digits: tuple[Launcher, Any]) -> None:
    content = yaml12.load(exported.read_text(), "best.yaml")
    trial = digits[0].trials("digits")[content["trial"]]
    assert trial.value == content["value"] == max(t.value for t in digits[0].trials("digits") if t.state.name != "FAIL")
    assert (content["format"], content["study"]) == (1, "digits")
    assert content["objective"] == {"metric": "val_accuracy", "direction": "maximize", "at": "last", "step": 5}
    assert content["sweep"]["task"] == {"name": "digits", "split_seed": 0}
    assert content["params"] == trial.params
    full = TrainingConfig.model_validate(content["config"])
    # every field, defaults too; but for the loss, which nobody chose and so is the task's
    assert content["config"] == full.model_dump(mode="json", exclude={"loss"})
    assert (full.optimizer.lr, full.seed, full.model.width) == (trial.params["optimizer.lr"], content["seed"], 32)
    assert content["seed"] == trial_seed(0, trial.number) == trial.user_attrs["seed"]
    assert (content["threads"], content["device"]) == (1, "cpu")
    assert content["versions"]["torch"] == torch.__version__
    assert content["digest"] == digest_of(content)
    assert exported.read_text().startswith("# Written by `hpo export`; `hpo train best.yaml` trains it again")


def test_the_code_of_an_export_is_named_with_its_digest(tmp_path: Path) -> None:
    url = run_here(loop_keys(tmp_path), tmp_path)
    content = hpo.export_best("loop", tmp_path / "best.yaml", storage=url)
    file = str(tmp_path / "code.py")
    assert content.code == {file: digest(file)}
    assert content.sweep == {"train": f"{file}:train", "plugins": [], "base": {"rate": 0.5}}
    assert content.config == {}


def test_a_study_and_its_name_give_the_same_export(exported: Path, digits: tuple[Launcher, Any]) -> None:
    again = exported.with_name("again.yaml")
    hpo.export_best(hpo.load_study("digits", digits[0].url), again)
    assert again.read_text() == exported.read_text().replace("best.yaml", "again.yaml")


# ------------------------------------------------------------------------------------------- the number, reproduced


def test_the_number_is_reproduced_bit_for_bit_and_the_weights_are_kept(exported: Path) -> None:
    said: list[str] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        weights = exported.with_name("model.safetensors")
        result = hpo.train(exported, weights=weights, say=said.append)
        assert torch.get_num_threads() == threads + 1, "threads are given back"
    finally:
        torch.set_num_threads(threads)
    assert result.reproduced
    assert result.value == result.recorded == read_export(exported).value
    lines = result.text().splitlines()
    assert lines[0] == f"reproduced: val_accuracy {result.value!r}, recorded {result.value!r}"
    assert [line.split(":")[0] for line in lines[1:]] == ["test_loss", "test_accuracy", "test_recall", "test_f1"]
    assert said == [f"training trial {result.exported.trial} of digits again (1 thread) ..."]

    task = tasks.parse("digits").make()
    fresh = TrainingConfig.model_validate(result.exported.config).model.build(task.input_shape, task.outputs)
    load_model(fresh, str(weights))
    assert task.test is not None
    x, y = (torch.as_tensor(part) for part in task.test)
    fresh.eval()
    taught = load_network(weights, task, "loss.teacher")  # the file says by itself which model it is of
    assert all(torch.equal(a, b) for a, b in zip(taught.parameters(), fresh.parameters(), strict=True))
    predicted = fresh(x.float()).argmax(1)
    assert (predicted == y).double().mean().item() == pytest.approx(result.test["test_accuracy"], abs=1e-6)


def test_at_best_the_weights_of_the_best_epoch_are_tested(tmp_path: Path) -> None:
    objective = {"metric": "val_accuracy", "direction": "maximize", "at": "best"}
    url = run_here(digits_keys(objective=objective), tmp_path)
    trials = hpo.load_study("small", url).trials
    early = [trial for trial in trials if trial.user_attrs["best_step"] < 4]
    assert early, "some trial was best before its end"
    content = hpo.export_best("small", tmp_path / "best.yaml", trial=early[0].number, storage=url)
    assert content.objective.step == early[0].user_attrs["best_step"]
    assert content.value == early[0].intermediate_values[content.objective.step] == early[0].value
    result = hpo.train(tmp_path / "best.yaml")
    assert result.reproduced
    task = tasks.parse("digits").make()
    x, y = (torch.as_tensor(part) for part in task.val)
    assert result.net is not None
    found = (result.net.eval()(x.float()).argmax(1) == y).double().mean().item()
    assert found == pytest.approx(content.value, abs=1e-6)


@pytest.mark.parametrize(
    ("at", "expression", "returned", "step"),
    [
        ("last", "config['x'] * step", "None", 4),
        ("last", "config['x'] * step", "{'score': config['x'] / 3}", 4),
        ("best", "-config['x'] * (step - 2) ** 2 + config['x']", "None", 2),
        ("best", "config['x'] * step", "{'score': 0.0}", 4),
        ("best", "config['x'] * step", "{'score': config['x'] * 9}", None),
        ("best", "config['x'] + trial.seed % 7 * random.random()", "None", ...),
    ],
)
def test_a_loop_of_ones_own_is_reproduced(tmp_path: Path, at: str, expression: str, returned: str, step: Any) -> None:
    keys = loop_keys(tmp_path, expression, returned, objective={"metric": "score", "direction": "maximize", "at": at})
    code = tmp_path / "code.py"
    code.write_text("import random\n" + code.read_text())
    url = run_here(keys, tmp_path)
    content = hpo.export_best("loop", tmp_path / "best.yaml", storage=url)
    assert content.value == hpo.load_study("loop", url).best_value
    assert step is ... or content.objective.step == step
    result = hpo.train(tmp_path / "best.yaml")
    assert (result.value, result.reproduced) == (content.value, True)
    assert (result.test, result.net) == ({}, None)


def test_a_loop_that_only_returns_is_reproduced(tmp_path: Path) -> None:
    keys = loop_keys(tmp_path)
    (tmp_path / "code.py").write_text("def train(config, trial):\n    return {'score': config['x'] ** 2}\n")
    url = run_here(keys, tmp_path)
    assert hpo.export_best("loop", tmp_path / "best.yaml", storage=url).objective.step is None
    assert hpo.train(tmp_path / "best.yaml").reproduced


def test_the_users_task_of_the_readme_loads_from_its_weights(readme: tuple[Path, Any]) -> None:
    folder, _ = readme
    result = hpo.train(folder / "best_task.yaml")
    assert result.reproduced
    assert result.net is not None
    saved = load_file(folder / "wine.safetensors")
    assert set(saved) == set(result.net.state_dict())
    model = load(find("my_task.py:model", folder, "task"), "task")(result.exported.config["model"])
    load_model(model, str(folder / "wine.safetensors"))
    x = torch.randn(16, 13, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.eval()(x), result.net.eval()(x))


def test_an_export_of_a_registered_task_needs_nothing_of_where_it_came_from(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    url = run_here(digits_keys(budget={"trials": 1}), made)
    hpo.export_best("small", tmp_path / "best.yaml", storage=url)
    made.rename(tmp_path / "gone")
    assert hpo.train(tmp_path / "best.yaml").reproduced


# ----------------------------------------------------------------------------------------- changed code, overrides


def test_changed_code_is_named_and_another_number_is_an_error(tmp_path: Path) -> None:
    url = run_here(loop_keys(tmp_path), tmp_path)
    recorded = hpo.export_best("loop", tmp_path / "best.yaml", storage=url).value
    code = tmp_path / "code.py"
    code.write_text(code.read_text() + "# a remark\n")
    said: list[str] = []
    assert hpo.train(tmp_path / "best.yaml", say=said.append).reproduced
    assert said[0] == f"warning: {code} has changed since the study"

    code.write_text(code.read_text().replace("* step", "* step + 1"))
    result = hpo.train(tmp_path / "best.yaml")
    assert not result.reproduced
    assert result.text().startswith(f"NOT reproduced: score {recorded + 1!r}, recorded {recorded!r}")
    with pytest.raises(NotReproduced) as error:
        result.check()
    expected = f"score is {recorded + 1!r}, the study has {recorded!r}; {code} has changed since the study"
    assert str(error.value) == expected


def test_overrides_are_not_compared_and_say_so(exported: Path) -> None:
    result = hpo.train(exported, overrides=["epochs=1", ("schedule.name", "linear"), "seed=7"])
    assert result.compared is False
    assert result.data()["reproduced"] is None
    assert f"(not compared with the recorded {result.recorded!r}: options were changed)" in result.text()
    assert result.value is not None
    assert result.value < result.recorded
    result.check()  # raises nothing


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("epohcs=3", "unknown path 'epohcs'; did you mean 'epochs'?"),
        ("epochs=many", "epochs: should be a valid integer, found 'many'"),
        ("seed=-1", "seed: should be greater than or equal to 0, found -1"),
        ("schedule.name=cosin", "did you mean 'cosine'"),
        ("epochs", "override 'epochs' must be a dotted key, = and a value"),
    ],
)
def test_a_wrong_override_is_refused_before_anything_is_trained(exported: Path, override: str, sentence: str) -> None:
    said: list[str] = []
    with pytest.raises(UserError) as error:
        hpo.train(exported, overrides=[override], say=said.append)
    assert sentence in str(error.value)
    assert said == []


def test_an_override_that_a_loop_never_reads_is_an_error(tmp_path: Path) -> None:
    hpo.export_best("loop", tmp_path / "best.yaml", storage=run_here(loop_keys(tmp_path), tmp_path))
    assert hpo.train(tmp_path / "best.yaml", overrides=["x=2.0"]).value == 8.0
    with pytest.raises(UserError, match="override y: the training function never read this parameter"):
        hpo.train(tmp_path / "best.yaml", overrides=["y=2.0"])


# --------------------------------------------------------------------------------------------------- which trial


def test_one_trial_by_its_number(digits: tuple[Launcher, Any], tmp_path: Path) -> None:
    complete = [trial for trial in digits[0].trials("digits") if trial.state.name == "COMPLETE"]
    worst = min(complete, key=lambda trial: trial.value)
    content = hpo.export_best("digits", tmp_path / "one.yaml", trial=worst.number, storage=digits[0].url)
    assert (content.trial, content.value, content.params) == (worst.number, worst.value, worst.params)
    assert hpo.train(tmp_path / "one.yaml").reproduced


def test_only_a_complete_trial_is_exported(digits: tuple[Launcher, Any], tmp_path: Path) -> None:
    pruned = next(trial.number for trial in digits[0].trials("digits") if trial.state.name == "PRUNED")
    with pytest.raises(UserError, match=f"--trial: trial {pruned} is PRUNED; only a COMPLETE one can be exported"):
        hpo.export_best("digits", tmp_path / "best.yaml", trial=pruned, storage=digits[0].url)
    with pytest.raises(NotFound, match="no trial 12; its trials are 0 to 11"):
        hpo.export_best("digits", tmp_path / "best.yaml", trial=12, storage=digits[0].url)
    keys = loop_keys(tmp_path, "1 / 0", failures={"max_in_a_row": 2})
    url = run_here(keys, tmp_path)
    with pytest.raises(UserError, match="--trial: trial 0 is FAIL"):
        hpo.export_best("loop", tmp_path / "best.yaml", trial=0, storage=url)
    with pytest.raises(NotFound, match="study 'loop' has no COMPLETE trial yet"):
        hpo.export_best("loop", tmp_path / "best.yaml", storage=url)
    assert not (tmp_path / "best.yaml").exists()


def test_several_objectives_need_a_number(tmp_path: Path) -> None:
    goals = [{"metric": "score", "direction": "maximize"}, {"metric": "cost", "direction": "minimize"}]
    keys = loop_keys(tmp_path, "config['x'], cost=config['x']", objectives=goals)
    del keys["objective"]
    url = run_here(keys, tmp_path)
    with pytest.raises(UserError, match=r"has several objectives; choose with --trial \(front: 0, 1, 2\)"):
        hpo.export_best("loop", tmp_path / "best.yaml", storage=url)
    content = hpo.export_best("loop", tmp_path / "best.yaml", trial=1, storage=url)
    assert (content.trial, content.objective.metric) == (1, "score")
    assert hpo.train(tmp_path / "best.yaml").reproduced


def test_a_study_that_hpo_did_not_make_has_nothing_to_export(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="plain")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(UserError, match="study 'plain' was not made by hpo"):
        hpo.export_best(study, tmp_path / "best.yaml")


# ---------------------------------------------------------------------------------------------------- environment


def test_a_secret_of_the_environment_is_not_in_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_TEST_KEY", "0x5ecret")
    monkeypatch.setenv("HPO_TEST_DROPOUT", "0.125")
    (tmp_path / "secret.py").write_text(TASK)
    keys = digits_keys(
        task={"name": "secret.py:make_task", "token": "${env:HPO_TEST_KEY}"},
        base={
            "epochs": 2,
            "model": {"key": "${env:HPO_TEST_KEY}"},
            "regularization": {"dropout": {"rate": "${env:HPO_TEST_DROPOUT}"}},
        },
        budget={"trials": 1},
    )
    url = run_here(keys, tmp_path)
    path = tmp_path / "best.yaml"
    content = hpo.export_best("small", path, storage=url)
    for secret in ("0x5ecret", "0.125"):
        assert secret not in path.read_text()
    assert content.config["model"] == {"key": "${env:HPO_TEST_KEY}"}
    assert content.config["regularization"] == {"dropout": "${env:HPO_TEST_DROPOUT}"}
    result = hpo.train(path)
    assert result.reproduced
    assert "0x5ecret" not in result.text() + repr(result.data())
    monkeypatch.delenv("HPO_TEST_KEY")
    with pytest.raises(UserError, match=r"key|token: the environment variable HPO_TEST_KEY is not set"):
        hpo.train(path)


def test_a_file_that_cannot_be_written_leaves_nothing(digits: tuple[Launcher, Any], tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "best.yaml", tmp_path):
        with pytest.raises(UserError, match=r"--output: .* cannot be written"):
            hpo.export_best("digits", path, storage=digits[0].url)
    assert list(tmp_path.iterdir()) == []
    assert [name for name in os.listdir(tmp_path.parent) if name.endswith(".new")] == []
