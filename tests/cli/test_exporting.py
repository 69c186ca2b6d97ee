"""`hpo export`, `train` and `decrypt`: what is printed, where, and which files are refused with which sentence."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hpo as api
from hpo import yaml12
from hpo.export import digest_of
from tests.cli.conftest import Hpo
from tests.launching import Launcher
from tests.without_ray import run_here

LOOP = """
def train(config, trial):
    print("hello from the loop")
    for step in range(1, 4):
        trial.report(step, score=config["x"] * step)
"""

KEYS: dict[str, Any] = {
    "name": "loop",
    "train": "code.py:train",
    "space": {"x": {"low": 0.1, "high": 1.0}},
    "objective": {"metric": "score", "direction": "maximize"},
    "budget": {"trials": 2},
}


@pytest.fixture(scope="module")
def best(digits: tuple[Launcher, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the launched study of digits."""
    path = tmp_path_factory.mktemp("exported") / "best.yaml"
    api.export_best("digits", path, storage=digits[0].url)
    return path


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """An export of a user's own loop, that prints."""
    (tmp_path / "code.py").write_text(LOOP)
    api.export_best("loop", tmp_path / "loop.yaml", storage=run_here(KEYS, tmp_path))
    return tmp_path / "loop.yaml"


def test_an_export_is_the_same_by_command_and_by_python(
    hpo: Hpo, best: Path, digits: tuple[Launcher, Any], tmp_path: Path
) -> None:
    path = tmp_path / "best.yaml"
    done = hpo("export", "digits", "-o", path, "--storage", digits[0].url)
    assert (done.code, done.out) == (0, f"{path}\n")
    assert path.read_text() == best.read_text()
    said, kept, _ = done.err.split("\n")
    assert re.fullmatch(rf"trial \d+ of digits, val_accuracy 0\.\d+; train it again with  hpo train {path}", said)
    where = kept.removeprefix("its last checkpoint: ")
    saved = torch.load(where, weights_only=True)["state"]
    assert len(saved["history"]["reports"]) == 5, "the state of its end"
    assert f"checkpoint: {where}\n" in hpo("trials", "digits", said.split()[1], "--storage", digits[0].url).out
    shown = [hpo("trials", "digits", n, "--storage", digits[0].url).out for n in range(12)]
    assert sum("checkpoint:" in one for one in shown) <= 2, "the best one's and the last one's"
    with_number = hpo("export", "digits", "--trial", 0, "-o", path, "--storage", digits[0].url)
    state = digits[0].trials("digits")[0].state.name
    assert (with_number.code == 0) == (state == "COMPLETE")


def test_training_again_says_reproduced_first_and_tests_after(hpo: Hpo, best: Path, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    done = hpo("train", best, "-o", weights)
    assert done.code == 0
    first, *tests = done.out.splitlines()
    number = api.export.read_export(best).value  # type: ignore[attr-defined]
    assert first == f"reproduced: val_accuracy {number!r}, recorded {number!r}"
    assert [line.split(":")[0] for line in tests] == ["test_loss", "test_accuracy", "test_recall", "test_f1"]
    assert done.err.count("\n") == 1
    assert weights.is_file()

    found = json.loads(hpo("train", best, "--json").out)
    again = api.train(best)
    assert found == again.data()
    assert (found["metric"], found["compared"], found["reproduced"]) == ("val_accuracy", True, True)
    assert (found["value"], found["recorded"]) == (number, number)
    assert [f"{name}: {value:.6g}" for name, value in found["test"].items()] == tests
    counts = found["by_class"]["confusion"]
    assert found["by_class"]["split"] == "test"
    right = sum(row[number] for number, row in enumerate(counts))
    assert right / sum(map(sum, counts)) == pytest.approx(found["test"]["test_accuracy"], abs=1e-6)


def test_what_the_users_code_prints_is_no_result(hpo: Hpo, loop: Path) -> None:
    done = hpo("train", loop, "--json")
    assert json.loads(done.out)["reproduced"] is True
    assert "hello from the loop\n" in done.err


def test_another_number_is_exit_1_with_both(hpo: Hpo, loop: Path) -> None:
    code = loop.with_name("code.py")
    code.write_text(LOOP.replace("* step)", "* step + 1)"))
    recorded = api.export.read_export(loop).value  # type: ignore[attr-defined]
    done = hpo("train", loop)
    assert done.code == 1
    assert done.out == f"NOT reproduced: score {recorded + 1!r}, recorded {recorded!r}\n"
    assert f"warning: {code} has changed since the study\n" in done.err
    said = f"error: score is {recorded + 1!r}, the study has {recorded!r}; {code} has changed since the study\n"
    assert done.err.endswith(said)
    assert json.loads(hpo("train", loop, "--json").out)["reproduced"] is False


def test_overrides_are_not_compared(hpo: Hpo, best: Path) -> None:
    done = hpo("train", best, "epochs=1", "optimizer.lr=0.001")
    assert done.code == 0
    assert re.match(r"val_accuracy: 0\.\d+ \(not compared with the recorded 0\.\d+: options were changed\)\n", done.out)
    assert "reproduced" not in done.out


def test_a_training_that_diverges_is_one_sentence(hpo: Hpo, best: Path) -> None:
    done = hpo("train", best, "optimizer.lr=1e30")
    assert (done.code, done.out) == (1, "")
    assert re.search(r"^error: diverged: train_loss is nan at step 1", done.err, re.MULTILINE)


def edited(change: Callable[[dict[str, Any]], None], *, signed: bool) -> Callable[[str], str]:
    """The export with a change, its own digest made to fit or not."""

    def edit(text: str) -> str:
        content = yaml12.load(text, "best.yaml")
        change(content)
        return yaml12.dump({**content, "digest": digest_of(content)} if signed else content)

    return edit


ALTERED = r"was altered since it was exported \(its digest does not fit its content\)"


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda text: text.replace("epochs: 5", "epochs: 6"), ALTERED),
        (lambda text: text.replace("seed: ", "seed: 1"), ALTERED),
        (
            lambda text: text.replace("# Written", "value: 1.0\n# Written"),
            "value.*twice|twice.*value|repeated|duplicate",
        ),
        (edited(lambda content: content.pop("digest"), signed=False), ALTERED),
        (
            edited(lambda content: content.update(format=2), signed=True),
            r"format 2 is not known; this hpo \(.+\) reads 1",
        ),
        (edited(lambda content: content.update(format=True), signed=True), "best.yaml: format: .*found True"),
        (edited(lambda content: content.pop("format"), signed=True), "is no export: it has no format; `hpo export"),
        (edited(lambda content: content.pop("value"), signed=True), "best.yaml: value: missing; it is required"),
        (edited(lambda content: content.update(threads=0), signed=True), "threads: .*found 0"),
        (edited(lambda content: content.update(vlaue=1.0), signed=True), "unknown key 'vlaue'; did you mean 'value'"),
        (lambda text: "name: digits\ntask: digits\n", "is no export: it has no format"),
        (lambda text: "", "is no export|empty"),
        (lambda text: "- a\n- b\n", "mapping"),
        (lambda text: "format: [1", "line"),
        (lambda text: "\x00\x01", "."),
    ],
)
def test_a_file_that_is_no_sound_export_is_one_sentence(
    hpo: Hpo, best: Path, tmp_path: Path, edit: Callable[[str], str], sentence: str
) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(edit(best.read_text()))
    done = hpo("train", path, "-o", tmp_path / "model.safetensors")
    assert (done.code, done.out) == (2, "")
    first, *rest = done.err.splitlines()
    assert re.search(sentence, first), first
    assert first.startswith("error: ")
    assert str(path) in first
    assert rest == [] or (len(rest) == 2 and rest[1].startswith("hint: "))
    assert list(tmp_path.iterdir()) == [path]


def test_an_absent_file_is_one_sentence(hpo: Hpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = hpo("train", "best.yaml")
    assert (done.code, done.out, done.err) == (2, "", f"error: no file 'best.yaml' in {tmp_path}\n")


def test_a_place_for_weights_is_looked_at_before_the_training(hpo: Hpo, best: Path, loop: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "model.safetensors"
    for arguments, said in {
        (best, absent): f"--output: {absent} cannot be written: there is no folder '{absent.parent}'",
        (best, tmp_path): f"--output: {tmp_path} is a folder; a file such as model.safetensors is needed",
        (loop, tmp_path / "w"): "--output: a train: function keeps its own weights; only a task's can be saved here",
    }.items():
        done = hpo("train", arguments[0], "-o", arguments[1])
        assert (done.code, done.out, done.err) == (2, "", f"error: {said}\n")


def test_a_users_file_that_is_gone_is_one_sentence(hpo: Hpo, loop: Path) -> None:
    loop.with_name("code.py").unlink()
    done = hpo("train", loop)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: train: no file '{loop.with_name('code.py')}' in {loop.parent}\n"


def test_a_report_is_written_where_it_is_asked_for(hpo: Hpo, digits: tuple[Launcher, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done = hpo("report", "digits", "-o", path, "--storage", digits[0].url)
    assert (done.code, done.out, done.err) == (0, f"{path}\n", "drawing the report ...\n")
    page = path.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert {"plot-confusion", "plot-roc"} <= set(re.findall(r'id="(plot-\w+)"', page)), "kept in the launched study"
    winner = max(digits[0].trials("digits"), key=lambda trial: trial.value if trial.state.name == "COMPLETE" else -1)
    counts = winner.user_attrs["by_class"]["confusion"]  # as a plain Optuna reads it
    right = sum(row[number] for number, row in enumerate(counts))
    assert right / sum(map(sum, counts)) == pytest.approx(winner.value, abs=1e-6)


def test_an_encrypted_export_is_trained_with_its_key_and_decrypted_to_what_it_was(
    hpo: Hpo, best: Path, digits: tuple[Launcher, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_ENCRYPTION_KEY", base64.b64encode(bytes(range(32))).decode())
    path, plain = tmp_path / "best.yaml", tmp_path / "plain.yaml"
    assert hpo("export", "digits", "-o", path, "--storage", digits[0].url).code == 0
    assert path.read_bytes().startswith(b"hpo-encrypted 1\n")
    assert hpo("train", path, "epochs=1").code == 0
    done = hpo("decrypt", path, "-o", plain)
    assert (done.code, done.out, done.err) == (0, f"{plain}\n", "")
    assert plain.read_text() == best.read_text()

    refused = {
        hpo("decrypt", plain, "-o", path): f"error: {plain} is not encrypted\n",
        hpo("decrypt", tmp_path, "-o", plain): f"error: {tmp_path} cannot be read: Is a directory\n",
        hpo(
            "decrypt", path, "-o", tmp_path / "a" / "b"
        ): f"error: --output: {tmp_path}/a/b cannot be written: No such ",
    }
    monkeypatch.delenv("HPO_ENCRYPTION_KEY")
    refused |= {
        hpo("decrypt", path, "-o", plain): f"error: {path} is encrypted, and there is no key; set HPO_ENCRYPTION_KEY",
        hpo("train", path): f"error: {path} is encrypted, and there is no key; set HPO_ENCRYPTION_KEY",
    }
    for done, sentence in refused.items():
        assert done.code == 2
        assert done.err.startswith(sentence)
    assert plain.read_text() == best.read_text(), "nothing was written"
