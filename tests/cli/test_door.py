"""What holds for every command: quick help, exit codes, no tracebacks for mistakes, Ctrl-C, closed pipes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from optuna.trial import create_trial

import hpo as api
from hpo.cli import app
from hpo.storage import open_storage
from tests.cli.conftest import Hpo
from tests.launching import Launcher
from tests.without_ray import run_here

COMMANDS = [str(info.name) for info in app.registered_commands]
TOOL = Path(sys.executable).with_name("hpo")
HELP_CPU = 0.5  # seconds


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([TOOL, "--help"], capture_output=True, text=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < HELP_CPU
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout
    program = "import sys\nfrom hpo.cli import main\nsys.argv = ['hpo', '--help']\ntry:\n    main()\nfinally:\n"
    program += "    print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stderr.split()) & {"torch", "ray", "optuna", "sqlalchemy", "pydantic", "numpy", "rich"} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_each_of_its_options_says_what_it_is(hpo: Hpo, command: str) -> None:
    assert hpo(command, "--help").code == 0
    group: Any = typer.main.get_command(app)
    assert group.commands[command].help.endswith(".")
    assert [one.name for one in group.commands[command].params if not one.help] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lunch"], "No such command 'lunch'. Did you mean 'launch'?"),
        (["launch", "x.yaml", "--trails", "3"], "No such option: --trails"),
        (["status"], "Missing argument 'NAME'"),
        (["trials", "digits", "many"], "Invalid value for 'N': "),
        (["dashboard", "--port", "70000"], "Invalid value for '--port': "),
        (["list"], "Missing argument 'KIND'"),
    ],
)
def test_a_mistyped_command_is_exit_2_without_a_traceback(hpo: Hpo, arguments: list[str], sentence: str) -> None:
    done = hpo(*arguments)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_without_a_command_the_help_is_shown(hpo: Hpo) -> None:
    done = hpo()
    assert "Usage: " in done.out + done.err
    assert done.code == 2


def test_the_version(hpo: Hpo) -> None:
    assert hpo("--version").out == f"{api.__version__}\n"


def test_ctrl_c_in_a_command_is_exit_130(launcher: Launcher) -> None:
    code = launcher.write("code.py", "def train(config, trial):\n    return {'score': config['x']}\n")
    keys = {
        "name": "loop",
        "train": "code.py:train",
        "space": {"x": {"low": 0.0, "high": 1.0}},
        "budget": {"trials": 1},
    }
    keys["objective"] = {"metric": "score", "direction": "maximize"}
    api.export_best("loop", launcher.folder / "best.yaml", storage=run_here(keys, launcher.folder))
    code.write_text(
        "import time\n\n\ndef train(config, trial):\n    print('sleeping', flush=True)\n    time.sleep(60)\n"
    )
    process = launcher.start("train", "best.yaml")
    assert process.stderr is not None
    while "sleeping" not in process.stderr.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    started = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    assert time.monotonic() - started < 10


def test_a_reader_that_has_seen_enough_is_no_error(launcher: Launcher) -> None:
    with open_storage(launcher.url) as storage:
        storage.create_study("long", ["maximize"], {})
    study = api.load_study("long", launcher.url)
    study.add_trials([create_trial(value=1.0, user_attrs={"reason": "x" * 60}) for _ in range(2500)])
    study._storage.close()  # type: ignore[attr-defined]
    for more in ("", "--json"):
        command = f"{sys.executable} -m hpo trials long {more} | head -n 1; echo ${{PIPESTATUS[0]}}"
        environment: dict[str, Any] = {**os.environ, "HPO_STORAGE": launcher.url}
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stderr == ""
        assert done.stdout.splitlines()[-1] == "0"


def test_json_is_one_document(hpo: Hpo, digits: tuple[Launcher, Any]) -> None:
    for command in (["status", "digits"], ["trials", "digits"], ["best", "digits"], ["studies"]):
        done = hpo(*command, "--json", "--storage", digits[0].url)
        json.loads(done.out)
        assert done.err == ""
