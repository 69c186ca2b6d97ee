"""The report in a real browser, without a network: every figure is drawn and no text of the study runs.

Needs Chromium: apt-get install -y chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import optuna
import pytest

from hpo.report import write_report

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"

CURVE = {"of_class": 1, "area": 0.5, "false_positives": [0.0, 1.0], "true_positives": [0.0, 1.0]}
BY_CLASS = {"split": EVIL, "confusion": [[1, 2], [3, 4]], "roc": [CURVE]}


@pytest.mark.slow
def test_every_figure_is_drawn_and_no_text_of_the_study_runs(tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "this test needs Chromium: apt-get install -y chromium"
    study = optuna.create_study(study_name=EVIL, sampler=optuna.samplers.RandomSampler(0))

    def objective(trial):
        x = trial.suggest_float(EVIL, 1e-3, 1, log=True)
        choice = trial.suggest_categorical("choice", [EVIL, "plain"])
        for step in range(5):
            trial.report(x / (step + 1), step)
        trial.set_user_attr("reason", EVIL)
        trial.set_user_attr("by_class", BY_CLASS)
        if trial.number % 10 == 9:
            raise ValueError(EVIL)
        return x + (choice == "plain")

    study.optimize(objective, n_trials=40, catch=ValueError)
    page = write_report(study, tmp_path / "report.html", title="quiet")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=20000"]
    done = subprocess.run(
        [*command, *offline, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    for key in ("history", "curves", "confusion", "roc", "importances", "slices0", "timeline"):
        plot = re.search(rf'id="plot-{key}".*?</svg>', done.stdout, re.DOTALL)
        assert plot, key
        assert "main-svg" in plot.group(), key
    assert "<title>quiet</title>" in done.stdout
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
