"""A launch whose trials train in packs: what it advises, and what export, train and trials say of its winner."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from hpo import yaml12
from hpo.export import digest_of
from tests.cli.conftest import Hpo
from tests.launching import Launcher, check_states

SWEEP = """
name: packed
task: digits
space:
  optimizer.lr: {low: 0.05, high: 0.3, log: true}
  regularization.dropout: {low: 0.0, high: 0.5}
objective: {metric: val_loss, direction: minimize}
budget: {trials: 6}
sampler: random
concurrency: 1
pack: 4
base: {epochs: 8, batch_size: 32, model: {name: mlp, width: 32}}
"""
Launched = tuple[Launcher, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A finished study of packs, for reading only, and what its launch printed."""
    launcher = Launcher(tmp_path_factory.mktemp("packed"))
    done = launcher.run("launch", str(launcher.write("packed.yaml", SWEEP)))
    assert done.returncode == 0, done.stderr
    yield launcher, done
    launcher.close()


@pytest.fixture
def here(launched: Launched, monkeypatch: pytest.MonkeyPatch) -> str:
    """The storage, which every command of a test takes."""
    monkeypatch.setenv("HPO_STORAGE", launched[0].url)
    return launched[0].url


def test_a_launch_advises_to_verify_what_trained_in_a_pack(launched: Launched) -> None:
    launcher, done = launched
    check_states(launcher.trials("packed"), 6)
    assert [trial.user_attrs["packed"] for trial in launcher.trials("packed")] == [True] * 6
    assert [line.strip() for line in done.stderr.splitlines()[-3:]] == [
        "next:  hpo report packed -o report.html",
        "hpo export packed --verify -o best.yaml   # trained in a pack: by itself first",
        "hpo train best.yaml",
    ]


def test_an_export_keeps_the_packs_number_and_train_says_how_close_it_comes(
    hpo: Hpo, here: str, tmp_path: Path
) -> None:
    path = tmp_path / "best.yaml"
    done = hpo("export", "packed", "-o", path)
    assert (done.code, done.out) == (0, f"{path}\n")
    assert done.err.splitlines()[1] == (
        "it was trained in a pack, compared within a tolerance; for its number by itself, bit for bit:  "
        f"hpo export packed --verify -o {path}"
    )
    done = hpo("train", path)
    assert done.code == 0
    assert re.match(
        r"reproduced within the tolerance of a packed trial: val_loss 0\.\d+, recorded 0\.\d+, "
        r"difference \S+, tolerance \S+\ntest_loss: ",
        done.out,
    ), done.out
    found = json.loads(hpo("train", path, "--json").out)
    assert (found["packed"], found["reproduced"], found["compared"]) == (True, True, True)
    assert found["difference"] == abs(found["value"] - found["recorded"]) <= found["tolerance"]

    content = yaml12.load(path.read_text(), "best.yaml")
    content["value"] *= 1.5
    path.write_text(yaml12.dump({**content, "digest": digest_of(content)}))
    done = hpo("train", path)
    assert done.code == 1
    assert done.out.startswith("NOT reproduced: val_loss ")
    assert re.search(
        r"^error: val_loss is 0\.\d+, the study has 0\.\d+, difference \S+, tolerance \S+\n$", done.err, re.M
    )


def test_a_verified_export_is_compared_bit_for_bit(hpo: Hpo, here: str, tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    done = hpo("export", "packed", "--verify", "--trial", 2, "-o", path)
    assert (done.code, done.out) == (0, f"{path}\n")
    training, apart, trained, *_ = done.err.splitlines()
    assert training == "training trial 2 of packed by itself (1 thread) ..."
    said = re.fullmatch(r"val_loss (\S+) by itself, (\S+) in the study, in a pack: (\S+ apart|the same)", apart)
    assert said is not None, apart
    assert trained.startswith("trial 2 of packed, val_loss 0.")
    assert "it was trained in a pack" not in done.err
    done = hpo("train", path)
    assert (done.code, done.out.splitlines()[0]) == (0, f"reproduced: val_loss {said[1]}, recorded {said[1]}")
    assert json.loads(hpo("train", path, "--json").out)["value_in_study"] == float(said[2])


def test_trials_show_that_they_were_packed(hpo: Hpo, here: str, tmp_path: Path) -> None:
    head, *rows = hpo("trials", "packed").out.splitlines()
    assert head.split()[:5] == ["trial", "state", "value", "steps", "packed"]
    assert {row.split()[4] for row in rows} == {"yes"}
    assert "\npacked: trained together with others, " in hpo("trials", "packed", 0).out
    assert json.loads(hpo("best", "packed", "--json").out)["packed"] is True
    hpo("trials", "packed", "-o", tmp_path / "trials.csv")
    assert pd.read_csv(tmp_path / "trials.csv")["user_attrs_packed"].tolist() == [True] * 6
    hpo("report", "packed", "-o", tmp_path / "report.html")
    assert re.search(r"<p>Trial \d, trained in a pack</p>", (tmp_path / "report.html").read_text())
