"""A sweep's own code: where its files are looked for, what plugins add, what shows that a file has changed."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo.errors import UserError
from hpo.sweep import Sweep
from hpo.sweep.difference import difference
from hpo.training import TrainingConfig, paths, with_paths
from hpo.training.schedules import schedules

Build = Callable[..., Sweep]
TRAIN = "def train(config, trial): ...\n"


def make_task(size: int = 3) -> None:
    """Stands for a user's task; nothing here calls it."""


@pytest.fixture
def registered() -> Iterator[None]:
    """Whatever schedules a test adds are forgotten after it."""
    before = set(schedules)
    yield
    for name in set(schedules) - before:
        schedules.remove(name)


def plugin(name: str, field: str = "depth", low: str = "0") -> str:
    return (
        "from pydantic import Field\n"
        "from hpo.training.schedules import Schedule, schedules\n\n"
        f"@schedules('{name}')\nclass Added(Schedule):\n    '''Constant.'''\n"
        f"    {field}: float = Field(0.5, ge={low}, description='no matter')\n"
        "    def factor(self, progress_T):\n        return 1 + 0 * progress_T\n"
    )


def test_paths_hang_on_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "sweeps", tmp_path / "elsewhere"
    (inside / "code").mkdir(parents=True)
    outside.mkdir()
    (inside / "code" / "train.py").write_text(TRAIN)
    (inside / "base.yaml").write_text("lr: 0.1\n")
    (inside / "space.py").write_text("import hpo\nfrom hpo.space import Space\nMINE = Space({'x': hpo.Float(0, 1)})\n")
    (inside / "sweep.yaml").write_text(
        "name: s\ntrain: code/train.py:train\nbase: base.yaml\nspace: {use: [space.py:MINE], y: {low: 0.5, high: 2}}\n"
        "objective: {metric: loss, direction: minimize}\nbudget: {trials: 1}\n"
    )
    found = []
    for cwd, path in ((outside, inside / "sweep.yaml"), (tmp_path, Path("sweeps/sweep.yaml"))):
        monkeypatch.chdir(cwd)
        sweep = Sweep.from_file(path)
        found.append(sweep.stored())
        assert sweep.folder == inside
        assert sweep.base == {"lr": 0.1}
        assert list(sweep.search_space) == ["x", "y"]
    assert found[0] == found[1]
    assert found[0]["keys"]["train"] == f"{inside}/code/train.py:train"
    assert "use" not in found[0]["keys"]["space"], "it is stored by what it holds"


def test_in_python_paths_hang_on_the_working_directory(
    good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "base.yaml").write_text("lr: 0.1\n")
    monkeypatch.chdir(tmp_path)
    del good["task"]
    assert hpo.Sweep(**good, train="train.py:train", base=Path("base.yaml")).base == {"lr": 0.1}


def test_a_changed_file_is_a_difference_that_is_shown(build: Build, tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_text(TRAIN)
    keys = {"task": None, "train": "train.py:train"}
    before = build(keys)
    assert list(before.digests()) == [str(file)]
    file.write_text(TRAIN + "# changed\n")
    after = build(keys)
    assert difference(Sweep.identity(before.stored()), Sweep.identity(after.stored())) == [
        f"{file}: the file has changed since"
    ]
    file.write_text(TRAIN)
    assert Sweep.identity(build(keys).stored()) == Sweep.identity(before.stored())


@pytest.mark.parametrize("form", ["bare", "with options"])
def test_a_function_becomes_a_reference_to_its_file(form: str, good: dict[str, Any]) -> None:
    good["task"] = make_task if form == "bare" else {"name": make_task, "size": 4}
    task = hpo.Sweep(**good).canonical()["task"]
    assert task == {"name": f"{__file__}:make_task", **({} if form == "bare" else {"size": 4})}


@pytest.mark.parametrize(
    "function",
    [lambda: None, functools.partial(make_task, 1), print, Build],
    ids=["lambda", "partial", "print", "alias"],
)
def test_what_other_processes_cannot_import_is_refused(function: Any, good: dict[str, Any]) -> None:
    good["task"] = function
    with pytest.raises(UserError, match="must be a function at the top level of a file, since other processes import"):
        hpo.Sweep(**good)


@pytest.mark.usefixtures("registered")
def test_a_plugins_entries_are_known_to_space_and_base(build: Build, tmp_path: Path) -> None:
    known = paths()
    with_paths(TrainingConfig(), {"optimizer.lr": 0.1})
    assert "schedule.depth" not in known
    (tmp_path / "plugin.py").write_text(plugin("added"))
    space = {"schedule.name": {"choices": {"constant": {}, "added": {"schedule.depth": {"low": 0.0, "high": 1.0}}}}}
    sweep = build(plugins=["plugin.py"], space=space, base={"schedule": {"name": "added", "depth": 0.2}})
    assert sweep.canonical()["plugins"] == [str(tmp_path / "plugin.py")]
    assert list(sweep.digests()) == [str(tmp_path / "plugin.py")]
    assert paths()["schedule.depth"].entries == ("added",)
    assert "schedule.depth" not in known, "what was given out stays as it was"
    changed = with_paths(TrainingConfig(), {"schedule.name": "added", "schedule.depth": 0.3})
    assert changed.schedule.model_dump()["depth"] == 0.3


@pytest.mark.usefixtures("registered")
def test_an_edited_plugin_takes_the_place_of_what_it_was(build: Build, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(plugin("added"))
    base = {"schedule": {"name": "added", "depth": 0.5}}
    build(plugins=["plugin.py"], base=base)
    (tmp_path / "plugin.py").write_text(plugin("added", low="0.7"))
    with pytest.raises(UserError, match=r"^base\.schedule\.depth: should be greater than or equal to 0\.7, found 0\.5"):
        build(plugins=["plugin.py"], base=base)
    (tmp_path / "plugin.py").write_text(plugin("added", field="width"))
    build(plugins=["plugin.py"], base={"schedule": {"name": "added", "width": 0.1}})
    assert "schedule.depth" not in paths()


@pytest.mark.parametrize("already", [False, True])
def test_a_plugin_cannot_take_a_name_of_ours(already: bool, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(plugin("cosine"))
    text = (
        f"if {already}:\n    from hpo.training.schedules import schedules\n    schedules.entries\n"
        "from pathlib import Path\nfrom hpo.loader import run_file\nfrom hpo.errors import UserError\n"
        "try:\n    run_file(Path('plugin.py').resolve(), 'plugins')\nexcept UserError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "ValueError: schedule 'cosine' is registered twice, in " in done.stdout
    assert done.stdout.strip().endswith(f"schedules/cosine.py and in {tmp_path / 'plugin.py'}")


def test_a_trials_configuration_costs_next_to_nothing() -> None:
    config, changes = TrainingConfig(), {"optimizer.lr": 0.1, "schedule.name": "cosine", "schedule.floor": 0.1}
    with_paths(config, changes)
    started = time.process_time()
    for _ in range(100):
        with_paths(config, changes)
    assert (time.process_time() - started) / 100 < 0.002, "seconds of CPU time a call"


def test_files_are_found_through_links_and_dots(build: Build, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(TRAIN)
    os.symlink(tmp_path / "code", tmp_path / "link")
    for written in ("code/../code/train.py:train", "./code/train.py:train", "link/train.py:train"):
        assert build(task=None, train=written).canonical()["train"] == f"{tmp_path}/code/train.py:train"
