"""The page: complete without a network, safe with any text, and there for every state a study can be in."""

from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
import pytest
from optuna.trial import TrialState
from plotly.offline import get_plotlyjs

from hpo.errors import UserError
from hpo.report import write_report

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
PRUNED, FAIL = TrialState.PRUNED, TrialState.FAIL


@pytest.fixture
def page(tmp_path):
    def read(study, **options):
        return write_report(study, tmp_path / "report.html", **options).read_text(encoding="utf-8")

    return read


def own(html: str) -> str:
    """The page without plotly.js."""
    assert html.count(get_plotlyjs()) == 1
    return html.replace(get_plotlyjs(), "")


def drawn(html: str) -> list[str]:
    return re.findall(r'id="plot-(\w+)"', own(html))


def full(study, trial, count=40):
    random = np.random.default_rng(0)
    trials = []
    for i in range(count):
        lr = float(10 ** random.uniform(-3, 0))
        params = {"optimizer.lr": lr, "schedule.name": "cosine" if i % 2 else "constant"}
        curve = [float(lr * e) for e in range(1, 6)]
        state = [TrialState.COMPLETE, TrialState.COMPLETE, PRUNED, TrialState.COMPLETE, FAIL][i % 5]
        trials.append(trial(None if state == FAIL else lr, state, params, curve, start=i, attrs={"reason": "nan"}))
    return study(*trials)


def test_a_whole_sweep_has_every_figure(study, trial, page):
    html = page(full(study, trial))
    assert drawn(html) == ["history", "curves", "rates", "importances", "slices0", "timeline"]
    assert "<b>40</b>trials" in html
    assert "<b>24</b>complete" in html
    assert "<b>8</b>pruned" in html
    assert "<b>8</b>fail" in html


def test_nothing_is_loaded_and_only_our_two_scripts_may_run(study, trial, page):
    html = page(full(study, trial))
    assert not re.search(r"<(script|img|link|iframe)[^>]*\s(src|href)=", own(html))
    assert "@import" not in own(html)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    allowed = [f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts]
    assert len(scripts) == 2
    assert f"script-src {' '.join(allowed)};" in html
    assert "default-src 'none'" in html


def test_an_empty_study(study, page):
    html = page(study())
    assert drawn(html) == []
    assert "No trial has ended yet." in html
    assert "No trial failed." in html
    assert "there is no winner" in html


def test_only_failed_trials(study, trial, page):
    html = page(study(*(trial(None, FAIL, attrs={"reason": "val_loss is nan at step 3"}) for _ in range(3))))
    assert drawn(html) == ["timeline"]
    assert html.count("val_loss is nan at step 3</td>") == 3
    assert "there is no winner" in html


def test_no_trial_meets_the_constraints(study, trial, page):
    two = {"objectives": [{"metric": "val_accuracy"}, {"metric": "size"}]}
    for html in (
        page(study(trial(0.5, constraints=[1.0]))),
        page(study(trial([0.5, 1.0], constraints=[1.0]), directions=["maximize", "minimize"], spec=two)),
    ):
        assert "No trial meets the constraints, so there is no winner." in html
        assert "No trial has completed" not in html


def test_every_table_has_what_the_configuration_gets(study, trial, page):
    spaces = {
        "optimizer.momentum": {"type": "float", "low": 0.5, "high": 0.99, "scale": "one_minus_log"},
        "regularization.mixup": {"type": "float", "low": 0.1, "high": 1.0, "zero": 0.5},
        "tie": {"optimizer.dampening": "optimizer.momentum / 2"},
    }
    spec = {"task": "digits", "objective": {"metric": "val_accuracy"}, "space": spaces}
    params = {"optimizer.momentum.one_minus": 0.25, "regularization.mixup.on": False}
    html = page(study(trial(0.5, params=params), trial(None, FAIL, params=params), spec=spec))
    assert html.count("optimizer.dampening=0.375, optimizer.momentum=0.75, regularization.mixup=0") == 2
    assert "one_minus=" not in html


def test_one_trial_without_reports(study, trial, page):
    html = page(study(trial(0.5, params={"optimizer.lr": 0.1})))
    assert drawn(html) == ["history", "rates", "slices0", "timeline"]
    assert "No trial reported intermediate values." in html
    assert "Too few completed trials" in html
    assert "<dt>optimizer.lr</dt><dd><code>0.1</code></dd>" in html


def test_waiting_and_running_trials_are_counted(study, trial, page):
    html = page(study(trial(None, TrialState.RUNNING), trial(None, TrialState.WAITING)))
    assert "<b>1</b>running" in html
    assert "<b>1</b>waiting" in html


def test_several_objectives_have_a_front_instead_of_a_winner(study, trial, page):
    spec = {"task": "digits", "objectives": [{"metric": "val_accuracy"}, {"metric": "size"}]}
    trials = [trial([0.5 + i / 100, float(i)], params={"optimizer.lr": 0.1 + i}) for i in range(30)]
    html = page(study(*trials, directions=["maximize", "minimize"], spec=spec))
    assert drawn(html) == ["front", "rates", "importances", "slices0", "slices1", "timeline"]
    assert "Slices: val_accuracy" in html
    assert "Slices: size" in html


def test_a_users_own_loop_has_no_section_of_learning_rates(study, trial, page):
    html = page(study(trial(0.5), spec={"train": "my.py:train", "objective": {"metric": "score"}}))
    assert "Learning rates" not in html
    assert "score" in html


def test_a_winner_that_was_measured_by_class_has_both_figures(study, trial, page):
    curve = {"of_class": 1, "area": 0.5, "false_positives": [0.0, 1.0], "true_positives": [0.0, 1.0]}
    kept = {"by_class": {"split": "val", "confusion": [[1, 1], [1, 1]], "roc": [curve]}}
    html = page(study(trial(0.5), trial(0.9, curve=[0.7, 0.9], attrs=kept)))
    assert drawn(html) == ["history", "curves", "confusion", "roc", "rates", "timeline"]
    assert "Measured at its end" not in html
    early = page(study(trial(0.9, curve=[0.9, 0.7], attrs={**kept, "best_step": 1})))
    assert early.count("Measured at its end, after epoch 2; its value is of epoch 1.") == 2


@pytest.mark.parametrize("part", ["split", "confusion", "roc", "area", "whole"])
def test_no_text_in_what_is_kept_by_class_can_act_as_markup(study, trial, page, part):
    curve = {"of_class": 1, "area": 0.5, "false_positives": [0.0, 1.0], "true_positives": [0.0, 1.0]}
    kept = {"split": "val", "confusion": [[1, 1], [1, 1]], "roc": [curve]}
    evil = {
        "split": {**kept, "split": EVIL},
        "confusion": {**kept, "confusion": [[EVIL, EVIL]]},
        "roc": {**kept, "roc": [{**curve, "of_class": EVIL}]},
        "area": {**kept, "roc": [{**curve, "area": EVIL}]},
        "whole": EVIL,
    }
    html = own(page(study(trial(0.9, attrs={"by_class": evil[part]}))))
    assert "onerror" not in html
    assert html.count("<script>") == 2
    assert ("confusion" in drawn(html + get_plotlyjs())) == (part == "split")


def test_no_text_of_a_study_can_act_as_markup(study, trial, page):
    evil = {"task": EVIL, "sampler": {"name": EVIL}, "objective": {"metric": EVIL}, "base": {}}
    attrs = {"reason": EVIL, "slot": EVIL, "log": EVIL, "metrics": {EVIL: 1.0}}
    trials = [trial(float(i), params={EVIL: 0.1 + i, "choice": EVIL}, curve=[float(i)], attrs=attrs) for i in range(25)]
    trials += [trial(None, FAIL, params={EVIL: 0.1}, attrs=attrs)]
    html = own(page(study(*trials, spec=evil), title=EVIL))
    assert "<img" not in html
    assert "<script>alert" not in html
    assert html.count("<script>") == 2
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") > 5


def test_passwords_in_urls_are_masked(study, trial, page):
    reason = "cannot reach postgresql://me:hunter2@db.example/x"
    html = page(study(trial(None, FAIL, attrs={"reason": reason})))
    assert "hunter2" not in html
    assert "postgresql://me:***@db.example/x" in html


def test_a_failure_without_a_reason_and_more_failures_than_fit(study, trial, page):
    html = page(study(*(trial(None, FAIL) for _ in range(205))))
    assert html.count("no reason was recorded</td>") == 200
    assert "5 more failed trials are not listed." in html


def test_two_thousand_trials_make_a_page_of_moderate_size(study, trial, page):
    random = np.random.default_rng(0)
    trials = [
        trial(float(v), params={"a": float(v) + 0.1, "b": "x"}, curve=list(np.linspace(0, v, 50)), start=i)
        for i, v in enumerate(random.random(2000))
    ]
    assert len(own(page(study(*trials)))) < 1_500_000


def test_the_file_is_replaced_nothing_is_printed_and_its_place_returned(study, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("old")
    path = write_report(study(), "report.html", title="Tuesday & co")
    assert path == tmp_path / "report.html"
    assert "<h1>Tuesday &amp; co</h1>" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert capfd.readouterr() == ("", "")


def test_a_place_that_cannot_be_written_is_one_sentence(study, tmp_path):
    with pytest.raises(UserError, match=r"report: .*nowhere/report\.html cannot be written: No such file"):
        write_report(study(), tmp_path / "nowhere" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"report: .*folder cannot be written: Is a directory"):
        write_report(study(), tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
