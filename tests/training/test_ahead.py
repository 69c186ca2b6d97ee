"""Steps compiled ahead of time: what is there is taken up if it computes the same, and what is not costs nothing."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from hpo.schema import check
from hpo.testing.strengths import small_task
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, traced, train_task
from hpo.training.ahead import BREAK_EVEN, Compilation
from hpo.training.packed import Pack

GIVEN = [torch.linspace(-1, 1, 400_000), torch.tensor(2.0)]
PATIENCE = 240.0


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache of this test's own."""
    monkeypatch.setenv("HPO_CACHE", str(tmp_path))
    return tmp_path / "steps"


def written(step: Callable[..., list[Tensor]], given: Sequence[Tensor] = GIVEN) -> Compilation:
    found: GraphModule = make_fx(step)(*given)
    return Compilation(found, given)


def many_passes(x: Tensor, factor: Tensor) -> list[Tensor]:
    """Little arithmetic for much memory: as one loop it is far faster."""
    for _ in range(20):
        x = x * factor * 0.25 + 1
    return [x]


def other_passes(x: Tensor, factor: Tensor) -> list[Tensor]:
    for _ in range(20):
        x = x * factor * 0.25 + 2
    return [x]


def made(steps: Path, ending: str = ".pt2") -> list[Path]:
    return [file for file in steps.glob(f"*{ending}") if len(file.stem) == 40]


def wait_for(steps: Path, ending: str = ".pt2") -> Path:
    until = time.monotonic() + PATIENCE
    while not made(steps, ending):
        assert time.monotonic() < until, f"nothing in {PATIENCE} s"
        time.sleep(0.1)
    return made(steps, ending)[0]


@pytest.mark.slow
def test_a_pack_goes_on_compiled_and_the_next_one_at_once(steps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "AFTER", 3)
    task = small_task()
    kind = TrainingConfig.for_task(task)
    regularization = {"dropout": 0.2, "label_smoothing": 0.1}
    common = {"epochs": 60, "batch_size": 16, "regularization": regularization}
    configs = [check(kind, {**common, "seed": n, "optimizer.lr": 1e-3 * (1 + n)}) for n in range(8)]
    solo = train_task(configs[3], task, Answers().trial(), "cpu")

    def trained(ahead: float, wait: bool) -> tuple[Pack, list[float]]:
        pack = Pack(task, configs[0], "cpu")
        members = [pack.admit(config, Answers().trial(number=n)) for n, config in enumerate(configs)]
        pack.ahead = ahead
        for epoch in range(60):
            pack.epoch()
            if epoch == 20 and wait:
                wait_for(steps)
        return pack, [report["val_loss"] for report in members[3].history.reports]

    pack, losses = trained(math.inf, wait=True)
    assert pack.compiled == {8}
    later, again = trained(0.0, wait=False)
    assert later.compiled == {8}
    for found in (losses, again):
        assert found == pytest.approx([report.metrics["val_loss"] for report in solo.history], rel=1e-4, abs=1e-4)
    later.leave(later.members[0])
    assert later.capacity == 8, "a compiled step for a few more rows is faster than a traced one that fits"
    for _ in range(5):
        later.leave(later.members[0])
    assert later.capacity == 2


@pytest.mark.slow
def test_what_computes_something_else_is_not_taken(steps: Path) -> None:
    faster = written(many_passes)
    faster.begin()
    machine_code = wait_for(steps).read_bytes()
    assert faster.take(GIVEN) is not None
    other = written(other_passes)
    other.begin()
    while len(made(steps)) < 2:
        time.sleep(0.1)
    next(file for file in made(steps) if file.read_bytes() != machine_code).write_bytes(machine_code)
    assert other.take(GIVEN) is None
    assert other.take(GIVEN) is None, "and it is not tried again"


def test_little_work_is_not_compiled(steps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "AFTER", 1)
    task = small_task()
    pack = Pack(task, check(TrainingConfig.for_task(task), {"epochs": 3, "batch_size": 16}), "cpu")
    for number in range(8):
        pack.admit(
            check(TrainingConfig.for_task(task), {"epochs": 3, "batch_size": 16}), Answers().trial(number=number)
        )
    pack.ahead = BREAK_EVEN
    for _ in range(3):
        pack.epoch()
    assert not steps.exists()


def test_what_is_no_machine_code_is_as_good_as_nothing(steps: Path) -> None:
    compilation = written(many_passes)
    assert compilation.take(GIVEN) is None
    assert not compilation.over, "it may still be made"
    steps.mkdir()
    (steps / f"{compilation.digest}.pt2").write_bytes(b"not an archive")
    assert compilation.take(GIVEN) is None
    assert compilation.over


def test_the_digest_hangs_on_all_that_the_code_hangs_on() -> None:
    constant = torch.tensor([1.0, 2.0])
    digests = [
        written(many_passes).digest,
        written(lambda x, factor: [x * factor]).digest,
        written(lambda x, factor: [x + factor]).digest,
        written(many_passes, [GIVEN[0][:-1], GIVEN[1]]).digest,
        written(many_passes, [GIVEN[0].double(), GIVEN[1]]).digest,
        written(lambda x, factor: [x[:2] * factor * constant]).digest,
        written(lambda x, factor: [x[:2] * factor * (constant + 1)]).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert written(many_passes).digest == digests[0]


def test_a_cache_that_cannot_be_written_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HPO_CACHE", str(tmp_path / "file"))
    compilation = written(many_passes)
    compilation.begin()
    assert compilation.take(GIVEN) is None


def test_without_a_compiler_nothing_is_begun(steps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("CXX", raising=False)
    written(many_passes).begin()
    assert not steps.exists()


def test_a_step_that_cannot_be_compiled_is_given_up_once(steps: Path) -> None:
    steps.mkdir()
    task = steps / f"{'0' * 40}.1.step"
    torch.save((unexportable(), [(torch.Size([2]), (1,), torch.float32, torch.device("cpu"))], 1), task)
    assert compiling(task, os.getpid()) != 0
    assert made(steps, ".txt")[0].read_text().strip()
    assert not task.exists()
    assert not made(steps)


def compiling(task: Path, parent: int) -> int:
    """The exit status of the process that compiles."""
    command = [sys.executable, "-m", "hpo.training.ahead", str(task), str(parent)]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE).returncode


def test_nothing_is_compiled_for_a_process_that_is_gone(steps: Path) -> None:
    steps.mkdir()
    task = steps / f"{'0' * 40}.1.step"
    task.write_bytes(b"no step at all")
    assert compiling(task, os.getpid() + 1) == 0
    assert not task.exists()


def test_a_step_that_could_not_be_read_is_not_given_up(steps: Path) -> None:
    steps.mkdir()
    assert compiling(steps / f"{'0' * 40}.1.step", os.getpid()) != 0
    assert not made(steps, ".txt")


def unexportable() -> torch.nn.Module:
    """One that no graph of is: what is exported hangs on its numbers."""
    return torch.nn.Embedding(3, 3)
