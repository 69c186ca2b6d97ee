"""What a user's training function may do wrong, in one sweep: the bad trials are FAIL with their reason, it goes on."""

from __future__ import annotations

from tests.launching import Launcher, check_states

TRAIN = """
import time
import warnings


def train(config, trial):
    print("hello from", trial.number)
    kind = config["kind"]
    for step in range(1, 4):
        trial.report(step, score=float(step) + config["bonus"])
        if kind == "raise":
            warnings.warn("about to break")
            raise RuntimeError("no such layer")
        if kind == "nan":
            trial.report(step + 1, score=float("nan"))
        if kind == "hang":
            time.sleep(1000)
        if kind == "text":
            return "done"
"""

SWEEP = """
name: bad
train: code.py:train
space:
  kind: {choices: [fine, raise, nan, hang, text]}
  bonus: {choices: [0.25, 0.5]}
objective: {metric: score, direction: maximize}
budget: {trials: 10}
sampler: grid
trial: {timeout: 4s}
failures: {max_in_a_row: 10}
concurrency: 2
"""


def test_bad_trials_fail_with_reasons_and_the_sweep_goes_on(launcher: Launcher) -> None:
    launcher.write("code.py", TRAIN)
    done = launcher.run("launch", str(launcher.write("bad.yaml", SWEEP)))
    assert done.returncode == 0, done.stderr
    trials = launcher.trials("bad")
    check_states(trials, 10)
    by_kind = {trial.params["kind"]: trial for trial in trials}
    assert by_kind["fine"].state.name == "COMPLETE"
    for kind, words in {
        "raise": "RuntimeError: no such layer",
        "nan": "score is nan at step 2",
        "hang": "timed out: still training 4 s after its start (trial.timeout)",
        "text": "must return a mapping of final metrics or nothing, returned str",
    }.items():
        assert by_kind[kind].state.name == "FAIL"
        assert words in by_kind[kind].user_attrs["reason"]
    with open(by_kind["raise"].user_attrs["log"], encoding="utf-8") as file:
        log = file.read()
    for words in (f"hello from {by_kind['raise'].number}", "UserWarning: about to break", "Traceback", "no such layer"):
        assert words in log
    assert "Traceback" not in done.stderr + done.stdout
    shown = launcher.run("trials", "bad", str(by_kind["raise"].number))
    assert "no such layer" in shown.stdout
    assert by_kind["raise"].user_attrs["log"] in shown.stdout


def test_a_row_of_failures_ends_the_sweep_with_the_last_reason(launcher: Launcher) -> None:
    launcher.write("code.py", "def train(config, trial):\n    raise ValueError('cannot open data.bin')\n")
    text = """
    name: row
    train: code.py:train
    space: {x: {low: 0.0, high: 1.0}}
    objective: {metric: score, direction: maximize}
    budget: {trials: 50}
    failures: {retries: 1, max_in_a_row: 3}
    concurrency: 1
    """
    done = launcher.run("launch", str(launcher.write("row.yaml", text)))
    assert done.returncode == 1
    assert "3 trials in a row failed; the last: ValueError: cannot open data.bin" in done.stderr
    trials = launcher.trials("row")
    check_states(trials, 3)
    assert [trial.user_attrs["attempt"] for trial in trials] == [2, 2, 2]


def test_a_parameter_that_is_never_read_ends_the_sweep_with_its_name(launcher: Launcher) -> None:
    launcher.write("code.py", "def train(config, trial):\n    return {'score': config['used']}\n")
    text = """
    name: unread
    train: code.py:train
    space: {used: {low: 0.0, high: 1.0}, forgotten: {low: 0.0, high: 1.0}}
    objective: {metric: score, direction: maximize}
    budget: {trials: 50}
    concurrency: 1
    """
    done = launcher.run("launch", str(launcher.write("unread.yaml", text)))
    assert done.returncode == 1
    assert "space.forgotten: the training function never read this parameter" in done.stderr
    assert len(launcher.trials("unread")) < 5
