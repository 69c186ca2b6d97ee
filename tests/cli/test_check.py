"""`hpo check`: prints the canonical sweep, which is a sweep file, and costs little."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpo import yaml12
from hpo.cli import app
from hpo.sweep import Sweep

DIGITS = Path(__file__).parents[2] / "scripts" / "sweeps" / "digits.yaml"
HEAVY = ("torch", "ray", "optuna", "sqlalchemy", "plotly", "sklearn", "pandas", "torchmetrics")


def check(*arguments: str) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["check", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_what_it_prints_is_a_sweep_file_that_prints_the_same(tmp_path: Path) -> None:
    printed, said = check(str(DIGITS))
    assert said == f"{DIGITS} is valid: 7 parameters\n"
    assert printed.endswith("\n")
    assert not printed.endswith("\n\n")
    (tmp_path / "again.yaml").write_text(printed)
    assert check(str(tmp_path / "again.yaml"))[0] == printed


def test_types_defaults_and_options_are_shown() -> None:
    keys = yaml12.load(check(str(DIGITS), "space.epochs={low: 1, high: 9}")[0], "printed")
    assert keys["space"]["epochs"] == {"type": "int", "low": 1, "high": 9}
    assert keys["space"]["optimizer.lr"] == {"type": "float", "low": 0.0001, "high": 1.0, "log": True}
    assert keys["task"] == {"name": "digits", "split_seed": 0}
    assert keys["trial"] == {"cpus": 1.0, "gpus": 0.0, "timeout": "5m", "isolate": False, "workers": 1}
    assert keys["pruner"]["reduction_factor"] == 3


def test_json_is_the_same_and_nothing_else() -> None:
    printed, said = check(str(DIGITS), "--json", "base.epochs=5")
    assert said == ""
    assert json.loads(printed) == Sweep.from_file(DIGITS, ["base.epochs=5"]).canonical()


def test_a_secret_is_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_TRIED", "971")
    for form in ([], ["--json"]):
        printed, said = check(str(DIGITS), "base.epochs=${env:HPO_TRIED}", *form)
        assert "971" not in printed + said
        assert "${env:HPO_TRIED}" in printed


def test_one_parameter_is_no_parameters(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "name: s\ntask: digits\nspace: {optimizer.lr: {low: 0.1, high: 0.2}}\nbudget: {trials: 1}\n"
        "objective: {metric: val_loss, direction: minimize}\n"
    )
    assert check(str(tmp_path / "sweep.yaml"))[1].endswith("is valid: 1 parameter\n")


@pytest.mark.parametrize("arguments", [["check", str(DIGITS)], ["list", "schedules"], ["list", "samplers"]])
def test_nothing_heavy_is_imported(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom hpo.cli import app\ntry:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n"
        f"    print(end.code, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "0 []"
    assert list(tmp_path.iterdir()) == []


def test_it_takes_less_than_a_second_of_cpu() -> None:
    taken = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "hpo", "check", str(DIGITS)], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken) < 1.0, "seconds; about 0.45 on a machine of 2026"
