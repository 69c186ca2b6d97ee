"""`hpo space`: what there is, what it searches, and what its schedules look like."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hpo.report.schedule_preview import plot_preview
from hpo.space import Choice, Float, Int, Space
from tests.cli.conftest import Hpo

MINE = '''
"""My own space."""
from hpo.space import Choice, Float, Space

SPACE = Space(
    {
        "optimizer.lr": Float(1e-3, 1.0, log=True, default=0.1, source="my notes"),
        "schedule.name": Choice({"constant": {}, "cosine": {"schedule.floor": Float(0.01, 0.1, zero=0.5)}}),
    },
    tie={"optimizer.weight_decay": "0.1 * optimizer.lr"},
)
OTHER = 3
'''
SWEEP = """
name: a
task: digits
space: {optimizer.lr: {low: 1e-3, high: 0.1, log: true}, use: [mine.py:SPACE]}
objective: {metric: val_loss, direction: minimize}
budget: {trials: 3}
base: {schedule: {name: linear, floor: 0.5}}
"""
BARE = "optimizer.lr: {low: 1e-3, high: 1, log: true, default: 0.01}\nmodel.width: {low: 8, high: 64}\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in {"mine.py": MINE, "sweep.yaml": SWEEP, "bare.yaml": BARE}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_list_names_the_curated_spaces(hpo: Hpo) -> None:
    done = hpo("space", "list")
    assert re.search(r"^mlp +\d+ +Multilayer perceptrons", done.out, re.MULTILINE)
    assert "space: {use: [search_spaces.mlp:SPACE]}" in done.err
    found = json.loads(hpo("space", "list", "--json").out)
    assert {one["name"] for one in found} >= {"mlp", "cnn", "transformer", "tabular"}
    assert all(one["parameters"] and one["summary"] for one in found)


@pytest.mark.parametrize("name", ["mine.py", "mine.py:SPACE", "mine:SPACE"])
def test_show_is_a_tree_with_ranges_defaults_and_sources(hpo: Hpo, files: Path, name: str) -> None:
    assert hpo("space", "show", name).out.splitlines()[1:] == [
        "parameter                 range                    default  source",
        "  optimizer.lr            0.001 .. 1.0, log        0.1      my notes",
        "  schedule.name           one of                   -        -",
        "    constant",
        "    cosine:",
        "      schedule.floor      0.01 .. 0.1, or 0 (50%)  -        -",
        "  optimizer.weight_decay  = 0.1 * optimizer.lr",
    ]


def test_show_as_json_has_all_of_it(hpo: Hpo, files: Path) -> None:
    found = json.loads(hpo("space", "show", "mine.py", "--json").out)
    lr, name, floor = found["parameters"]
    assert lr == {"path": "optimizer.lr", "type": "float", "low": 0.001, "high": 1.0, "log": True, "default": 0.1,
                  "source": "my notes", "when": []}  # fmt: skip
    assert name == {"path": "schedule.name", "choices": ["constant", "cosine"], "when": []}
    assert floor["zero"] == 0.5
    assert floor["when"] == [{"schedule.name": "cosine"}]
    assert found["tie"] == {"optimizer.weight_decay": "0.1 * optimizer.lr"}


def test_show_takes_sweeps_and_bare_spaces(hpo: Hpo, files: Path) -> None:
    assert "0.001 .. 0.1, log" in hpo("space", "show", "sweep.yaml").out  # the sweep's own goes before what it uses
    assert "schedule.floor" in hpo("space", "show", "sweep.yaml").out
    assert re.search(r"model\.width +8 \.\. 64 +- ", hpo("space", "show", "bare.yaml").out)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mpl", "hpo space: unknown space 'mpl'; did you mean 'mlp'? (allowed: augmentation, cnn"),
        ("mine.py:SPAC", "hpo space: unknown name in mine.py: 'SPAC'; did you mean 'Space'?"),
        ("mine.py:OTHER", "hpo space: mine.py:OTHER must be an hpo.space.Space, found int"),
        ("yours.py", "hpo space: no file 'yours.py' in"),
        ("yours.yaml", "no file 'yours.yaml' in"),
        ("wrong.yaml", "space.a: low must not be above high, found low 2.0 and high 1.0"),
    ],
)
def test_mistakes_are_one_sentence(hpo: Hpo, files: Path, name: str, sentence: str) -> None:
    (files / "wrong.yaml").write_text("a: {low: 2.0, high: 1.0}\n")
    done = hpo("space", "show", name)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err.splitlines()[0]


def test_preview_is_one_file_that_loads_nothing(hpo: Hpo, files: Path) -> None:
    done = hpo("space", "preview", "sweep.yaml", "-o", "curves.html", "--samples", 20)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{files / 'curves.html'}\n"
    page = (files / "curves.html").read_text()
    assert "default-src 'none'" in page
    assert "plot-preview" in page
    again = (files / "curves.html").stat().st_mtime_ns
    assert hpo("space", "preview", "initializers", "-o", "curves.html").code == 2
    assert (files / "curves.html").stat().st_mtime_ns == again, "what cannot be drawn replaces nothing"


def test_preview_refuses_what_it_cannot_draw(hpo: Hpo, files: Path) -> None:
    done = hpo("space", "preview", "initializers")
    assert "initializers: searches nothing of the learning rate (schedule.*, optimizer.lr)" in done.err
    done = hpo("space", "preview", "mlp", "-o", "nowhere/curves.html")
    assert (done.code, "--output: " in done.err) == (2, True)
    assert sorted(path.name for path in files.iterdir() if path.suffix == ".html") == []


def test_the_curves_are_those_of_the_space() -> None:
    shapes = Choice({"constant": {}, "cosine": {"schedule.floor": Float(0.1, 0.2, default=0.1)}}, default="cosine")
    space = Space(
        {"optimizer.lr": Float(0.01, 1.0, log=True, default=0.1), "schedule.name": shapes, "epochs": Int(1, 9)}
    )
    figure = plot_preview("mine", space, {}, samples=50)
    assert len(figure.data) == 51
    assert {trace.name for trace in figure.data} == {"constant", "cosine"}
    for trace in figure.data[:-1]:
        high, low = max(trace.y), min(trace.y)
        assert 0.01 <= high <= 1.0
        assert low == high if trace.name == "constant" else 0.09 * high <= low <= 0.21 * high
        assert "optimizer.lr" in trace.hovertemplate
        assert "epochs" not in trace.hovertemplate
    default = figure.data[-1]
    assert (default.name, max(default.y), default.line.width) == ("cosine", 0.1, 3.5)
    log, linear = figure.layout.updatemenus[0].buttons
    assert (log.label, linear.label) == ("log", "linear")
    assert linear.args[0]["yaxis2.type"] == "linear"
    shares = plot_preview("mine", Space({"schedule.name": shapes}), {"optimizer": {"lr": 0.5}}, samples=4)
    assert max(max(trace.y) for trace in shares.data) == 1.0


def test_no_curve_is_recommended_by_half() -> None:
    def drawn(default: float | None, tie: str) -> int:
        floor = Float(0.1, 0.2, default=default)
        shapes = Choice({"constant": {}, "cosine": {"schedule.warmup_fraction": floor}}, default="cosine")
        return len(plot_preview("mine", Space({"schedule.name": shapes}, tie={"schedule.floor": tie}), {}, 4).data)

    assert drawn(0.1, "schedule.warmup_fraction / 2") == 5
    assert drawn(None, "schedule.warmup_fraction / 2") == 4


def test_a_tied_learning_rate_is_drawn() -> None:
    batches = Choice([32, 64], default=32)
    figure = plot_preview("mine", Space({"batch_size": batches}, tie={"optimizer.lr": "batch_size / 320"}), {}, 4)
    assert {max(trace.y) for trace in figure.data} == {0.1, 0.2}
    assert max(figure.data[-1].y) == 0.1
