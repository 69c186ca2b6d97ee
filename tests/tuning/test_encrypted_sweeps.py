"""Sweeps with a key: what a wrong one does to trials that go on, how it comes to the slots, and where it never lies."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import psutil
import pytest
import torch
from ray.cluster_utils import Cluster
from torch import nn

import hpo
from hpo.encryption import KEY, Locked, opened
from hpo.errors import UserError
from hpo.tasks import Task, tasks
from hpo.training.weights import load_network, save_weights
from tests.launching import Launcher, check_states
from tests.without_ray import run_here

LOOP = """
import os


def train(config, trial):
    before, _ = trial.resume_from, config["x"]
    done = 0 if before is None else before["step"]
    for step in range(done + 1, 5):
        trial.report(step, score=step + 10 * done)
        trial.checkpoint({"step": step})
        if step == 2 and os.path.exists("kill"):
            raise KeyboardInterrupt
"""

KEYS: dict[str, Any] = {
    "name": "kept",
    "train": "code.py:train",
    "space": {"x": {"low": 0.1, "high": 1.0}},
    "objective": {"metric": "score", "direction": "maximize"},
    "budget": {"trials": 2},
    "sampler": "random",
    "base": {},
}

DIGITS: dict[str, Any] = {
    "name": "small",
    "task": "digits",
    "space": {"optimizer.lr": {"low": 0.05, "high": 0.5, "log": True}},
    "objective": {"metric": "val_accuracy", "direction": "maximize"},
    "budget": {"trials": 1},
    "sampler": "random",
    "base": {"epochs": 2, "batch_size": 64, "model": {"name": "mlp", "width": 16}},
}


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    text = new_key()
    monkeypatch.setenv(KEY, text)
    return text


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def holds(content: bytes, key: str) -> bool:
    """Whether the key lies there, as text or as bytes."""
    return key.encode() in content or base64.b64decode(key) in content


def loaded(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        found: dict[str, Any] = torch.load(opened(file, str(path)), weights_only=True)["state"]
    return found


@pytest.fixture
def interrupted(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep whose first trial died after it had saved step 2 with the key."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text(LOOP)
    (tmp_path / "kill").touch()
    with pytest.raises(KeyboardInterrupt):
        run_here(KEYS, tmp_path)
    (tmp_path / "kill").unlink()
    (path,) = tmp_path.rglob("*.pt")
    assert path.read_bytes().startswith(b"hpo-encrypted 1\n")
    return tmp_path


@pytest.mark.parametrize("wrong", ["another", "none"])
def test_a_wrong_key_stops_the_launch_before_anything_is_touched(
    interrupted: Path, key: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wrong == "none":
        monkeypatch.delenv(KEY)
    else:
        monkeypatch.setenv(KEY, new_key())
    before = everything(interrupted)
    with pytest.raises(UserError, match=r"^checkpoints: trial 0 cannot go on: /.*/0\.1\.pt is encrypted"):
        run_here(KEYS, interrupted)
    assert everything(interrupted) == before
    monkeypatch.setenv(KEY, key)
    url = run_here(KEYS, interrupted)
    trials = optuna.load_study(study_name="kept", storage=url).trials
    check_states(trials, 2)
    assert trials[0].intermediate_values[3] == 23, "it went on after step 2"
    monkeypatch.delenv(KEY)
    run_here({**KEYS, "budget": {"trials": 3}}, interrupted)  # what has ended needs no key


def test_a_checkpoint_that_was_altered_ends_the_run_and_is_left_there(interrupted: Path) -> None:
    (path,) = interrupted.rglob("*.pt")
    right = path.read_bytes()
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(Locked, match=r"0\.1\.pt was altered or damaged after it was encrypted$"):
        run_here(KEYS, interrupted)
    assert [found.name for found in interrupted.rglob("*.pt")] == ["0.1.pt"]
    path.write_bytes(right)
    url = run_here(KEYS, interrupted)
    assert optuna.load_study(study_name="kept", storage=url).trials[0].intermediate_values[3] == 23


def test_export_and_weights_are_encrypted_and_train_and_teach_with_the_key(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, best, weights = run_here(DIGITS, tmp_path), tmp_path / "best.yaml", tmp_path / "teacher.safetensors"
    hpo.export_best("small", best, storage=url)
    result = hpo.train(best, weights=weights)
    assert result.reproduced
    for path in (best, weights):
        assert path.read_bytes().startswith(b"hpo-encrypted 1\n")
    taught, task = load_network(weights, tasks.parse("digits").make(), "loss.teacher"), tasks.parse("digits").make()
    assert result.net is not None
    assert all(torch.equal(a, b) for a, b in zip(taught.parameters(), result.net.parameters(), strict=True))

    loss = {"name": "distillation", "teacher": "teacher.safetensors"}
    run_here({**DIGITS, "name": "taught", "base": {**DIGITS["base"], "loss": loss}}, tmp_path)
    monkeypatch.setenv(KEY, new_key())
    searched = {**DIGITS["space"], "loss.teacher": {"choices": ["teacher.safetensors"]}}
    with pytest.raises(UserError, match=r"^loss: .*teacher\.safetensors is encrypted with another key"):
        run_here({**DIGITS, "name": "not", "space": searched, "base": {**DIGITS["base"], "loss": loss}}, tmp_path)
    assert "not" not in optuna.get_all_study_names(url)
    for refused in (lambda: hpo.train(best), lambda: load_network(weights, task, "loss.teacher")):
        with pytest.raises(UserError, match=r"(best\.yaml|^loss\.teacher: .*) is encrypted with another key"):
            refused()


class Tied(nn.Module):
    """Words whose embedding is the output's weight too, and things that are no plain matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.gates, self.norm = nn.Embedding(7, 5), nn.GRU(5, 5), nn.BatchNorm1d(5)
        self.out = nn.Linear(5, 7)
        self.out.weight = self.words.weight
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("turned", torch.arange(6.0).view(2, 3).T)


@pytest.mark.parametrize("with_key", [True, False])
def test_weights_of_any_network_come_back(with_key: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if with_key:
        monkeypatch.setenv(KEY, new_key())
    net, data = Tied(), (torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    save_weights(net, {"width": 5}, tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").read_bytes().startswith(b"hpo-encrypted") == with_key
    found = load_network(tmp_path / "w.safetensors", Task(data, data, model=lambda config: Tied()), "loss.teacher")
    assert found.out.weight is found.words.weight
    assert {name: value.tolist() for name, value in found.state_dict().items()} == {
        name: value.tolist() for name, value in net.state_dict().items()
    }


def test_a_key_that_is_none_is_said_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, best = run_here(DIGITS, tmp_path), tmp_path / "best.yaml"
    hpo.export_best("small", best, storage=url)
    monkeypatch.setenv(KEY, "short")
    said: list[str] = []
    with pytest.raises(UserError, match=r"^HPO_ENCRYPTION_KEY: should be 32 bytes in base64"):
        hpo.train(best, weights=tmp_path / "w.safetensors", say=said.append)
    assert said == []
    with pytest.raises(UserError, match=r"^HPO_ENCRYPTION_KEY: should be 32 bytes in base64"):
        run_here({**DIGITS, "name": "none"}, tmp_path)


SEARCHING = """
import pathlib
import tempfile


def train(config, trial):
    for path in pathlib.Path(tempfile.gettempdir()).glob("hpo-tune-*/**/*"):
        if path.is_file():
            (pathlib.Path("seen") / path.name).write_bytes(path.read_bytes())
    for step in range(1, 3):
        trial.report(step, score=step * config["x"])
        trial.checkpoint({"step": step})
"""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="hpo-") as folder:  # a socket's path has at most 107 letters
        yield Path(folder)


def test_a_key_in_a_file_reaches_the_slots_and_lies_nowhere(
    launcher: Launcher, tmp_path_factory: pytest.TempPathFactory, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, file, temporary = new_key(), tmp_path_factory.mktemp("secret") / "key", short_folder
    file.write_text(secret + "\n")
    monkeypatch.setenv(f"{KEY}_FILE", str(file))
    monkeypatch.setenv("TMPDIR", str(temporary))  # Ray's too
    (launcher.folder / "seen").mkdir()
    launcher.write("code.py", SEARCHING)
    launcher.write("kept.yaml", "\n".join(f"{name}: {value}" for name, value in KEYS.items()))
    done = launcher.run("launch", "kept.yaml", "concurrency=1")
    assert done.returncode == 0, done.stderr
    assert list((launcher.folder / "seen").iterdir()), "what Tune writes while it runs was looked at"
    written = {**everything(launcher.folder), **everything(temporary)}
    assert any("/session_" in str(path) and path.suffix == ".log" for path in written), "and what Ray writes"
    assert [path for path, content in written.items() if holds(content, secret)] == []
    assert secret not in done.stdout + done.stderr
    checkpoints = list(launcher.folder.rglob("*.pt"))
    assert checkpoints
    monkeypatch.setenv(KEY, secret)
    for path in checkpoints:
        assert path.read_bytes().startswith(b"hpo-encrypted 1\n")
        assert loaded(path) == {"step": 2}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that holds the driver and two CPUs on another node."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    yield cluster
    cluster.shutdown()


SLOW_LOOP = """
import os
import time

import psutil


def train(config, trial):
    own = psutil.Process()
    shown = [repr(dict(os.environ)), *(repr((one.environ(), one.cmdline())) for one in (own, own.parent()))]
    with open(f"{config['folder']}/seen-{os.getpid()}", "w") as file:
        file.write("".join(shown))
    before, _ = trial.resume_from, config["x"]
    done = 0 if before is None else before["step"]
    for step in range(done + 1, 9):
        time.sleep(0.5)
        trial.report(step, score=step + 10 * done)
        trial.checkpoint({"step": step})
"""


@pytest.mark.slow
def test_the_key_of_the_driver_serves_slots_on_other_nodes(
    launcher: Launcher, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = new_key()
    assert KEY not in os.environ, "the nodes were started without it"
    monkeypatch.setenv(KEY, secret)
    launcher.write("code.py", SLOW_LOOP)
    keys = {**KEYS, "concurrency": 2, "checkpoints": {"path": "there"}, "base": {"folder": str(launcher.folder)}}
    launcher.write("kept.yaml", "\n".join(f"{name}: {value}" for name, value in keys.items()))
    done = launcher.run("launch", "kept.yaml", "--address", cluster.address, "--time", "3s")
    assert done.returncode == 0, done.stderr
    assert {trial.state.name for trial in launcher.trials("kept")} == {"WAITING"}, "what was begun is put back"
    checkpoints = sorted(launcher.folder.rglob("*.pt"))
    step, right = loaded(checkpoints[0])["step"], checkpoints[0].read_bytes()
    shown = "".join(path.read_text() for path in launcher.folder.glob("seen-*"))
    assert "PATH" in shown
    assert secret not in shown, "in no environment and no command line of a slot"
    assert not any(secret in " ".join(process.cmdline()) for process in psutil.process_iter(["cmdline"]))

    monkeypatch.setenv(KEY, new_key())
    done = launcher.run("resume", "kept", "--address", cluster.address, "--time", "10m")
    assert done.returncode == 2
    assert "is encrypted with another key" in done.stderr
    monkeypatch.setenv(KEY, secret)
    checkpoints[0].write_bytes(right[:-1])
    done = launcher.run("resume", "kept", "--address", cluster.address, "--time", "10m")
    assert done.returncode == 1, done.stderr
    assert f"error: {checkpoints[0]} was altered or damaged after it was encrypted" in done.stderr
    number = int(checkpoints[0].name.split(".")[0])
    assert launcher.trials("kept")[number].state.name == "WAITING"
    assert checkpoints[0].read_bytes() == right[:-1]

    checkpoints[0].write_bytes(right)
    done = launcher.run("resume", "kept", "--address", cluster.address, "--time", "10m")
    assert done.returncode == 0, done.stderr
    trials = launcher.trials("kept")
    check_states(trials, 2)
    assert trials[number].value == 8 + 10 * step, "it went on from where it was"
    contents = {**everything(launcher.folder), **everything(Path(cluster.head_node.get_session_dir_path()))}
    assert [path for path, content in contents.items() if holds(content, secret)] == []
