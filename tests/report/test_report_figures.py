"""What the figures of a study show."""

from __future__ import annotations

import datetime
import itertools
import math

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from hpo.report import (
    NothingToShow,
    plot_confusion_matrix,
    plot_history,
    plot_importances,
    plot_learning_curves,
    plot_learning_rates,
    plot_other_metrics,
    plot_pareto_front,
    plot_roc_curves,
    plot_slices,
    plot_timeline,
)

PRUNED, FAIL, COMPLETE = TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE
# the fixtures are plain functions without state
PROPERTY = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def trace(figure, name):
    (found,) = [t for t in figure.data if t.name.startswith(name)]
    return found


@PROPERTY
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), direction=st.sampled_from(["minimize", "maximize"])
)
def test_the_best_line_is_the_running_best(study, trial, values, direction):
    figure = plot_history(study(*map(trial, values), directions=[direction], spec=None))
    best = trace(figure, "best so far")
    running = (np.maximum if direction == "maximize" else np.minimum).accumulate(values)
    for number, value in enumerate(running):
        drawn = [y for x, y in zip(best.x, best.y, strict=True) if x <= number][-1]
        assert drawn == value


def test_pruned_failed_and_infeasible_trials_are_never_best(study, trial):
    made = study(
        trial(0.5),
        trial(0.9, PRUNED, curve=[0.9]),
        trial(None, FAIL, curve=[0.95]),
        trial(0.8, constraints=[0.5]),
        trial(0.6, constraints=[-1.0]),
    )
    figure = plot_history(made)
    assert list(trace(figure, "pruned").x) == [1]
    assert list(trace(figure, "complete").x) == [0, 3, 4]
    assert list(trace(figure, "best so far").y) == [0.5, 0.6, 0.6]


def test_an_axis_opens_on_the_bulk_when_one_value_exploded(study, trial):
    usual = [trial(float(v)) for v in np.linspace(0.1, 0.4, 20)]
    whole = plot_history(study(*usual, directions=["minimize"]))
    cut = plot_history(study(*usual, trial(1e12), directions=["minimize"]))
    assert whole.layout.yaxis.range is None
    low, high = cut.layout.yaxis.range
    assert low < 0.1
    assert 0.4 < high < 2


def test_learning_curves_are_grouped_by_state_and_the_winner_lies_on_top(study, trial):
    made = study(
        trial(0.7, curve=[0.5, 0.7]), trial(0.8, curve=[0.6, 0.8]), trial(0.2, PRUNED, curve=[0.2]), trial(None, FAIL)
    )
    figure = plot_learning_curves(made)
    assert figure.data[-1].name == "best, trial 1"
    assert list(figure.data[-1].y) == [0.6, 0.8, None]
    assert list(trace(figure, "complete").customdata) == [0, 0, 0, 1, 1, 1]
    assert trace(figure, "pruned").opacity < trace(figure, "complete").opacity
    assert [t.name for t in figure.data] == ["pruned", "complete", "best, trial 1"]
    assert figure.layout.xaxis.title.text == "epoch"


def test_a_nan_in_a_curve_is_a_gap(study, trial):
    figure = plot_learning_curves(study(trial(None, FAIL, curve=[0.5, math.nan, 0.7]), spec=None))
    assert list(figure.data[0].y) == [0.5, None, 0.7, None]
    assert figure.layout.xaxis.title.text == "step"


def test_many_curves_are_thinned_and_the_best_ones_kept(study, trial):
    values = np.random.default_rng(0).permutation(600).astype(float)
    made = study(*(trial(float(v), curve=list(np.linspace(0, v, 150))) for v in values))
    figure = plot_learning_curves(made, most=50, points=20)
    drawn = {n for t in figure.data for n in t.customdata}
    assert set(np.argsort(-values)[:10]) <= drawn
    assert 50 <= len(drawn) <= 60
    assert sum(len(t.x) for t in figure.data) <= 61 * 21


def test_other_metrics_have_a_panel_each_and_the_winner_on_top(study, trial):
    curves = {0: {"val_loss": {1: 0.5, 2: math.nan}}, 1: {"val_loss": {1: 0.4}, "val_f1": {1: 0.9, 2: 0.8}}}
    done = study(trial(0.8, curve=[0.8]), trial(0.7, PRUNED, curve=[0.7]), trial(state=FAIL))
    figure = plot_other_metrics(done, lambda numbers: {n: curves[n] for n in numbers if n in curves})
    assert [axis.title.text for axis in (figure.layout.yaxis, figure.layout.yaxis2)] == ["val_f1", "val_loss"]
    by_panel = {one.yaxis: [] for one in figure.data}
    for one in figure.data:
        by_panel[one.yaxis].append((one.hovertemplate.split("<br>")[0], list(one.y)))
    assert by_panel == {"y": [("trial 1", [0.9, 0.8])], "y2": [("trial 1", [0.4]), ("trial 0", [0.5, None])]}


def test_other_metrics_of_many_trials_are_read_for_a_few(study, trial):
    asked = []

    def read(numbers):
        asked.extend(numbers)
        return {number: {"val_loss": {1: 0.1}} for number in numbers}

    figure = plot_other_metrics(study(*(trial(float(n % 50), curve=[1.0]) for n in range(500))), read, most=20)
    assert len(figure.data) == len(set(asked)) <= 25
    assert 49 in asked
    with pytest.raises(NothingToShow, match="nothing besides the objective"):
        plot_other_metrics(study(trial(1.0)), lambda numbers: {})


def test_learning_rates_are_those_of_the_trials_own_configurations(study, trial):
    from hpo.training import TrainingConfig, lr_curve, with_paths

    wanted = {"optimizer.lr": 0.05, "schedule.name": "cosine", "schedule.warmup_fraction": 0.1}
    figure = plot_learning_rates(
        study(trial(0.9, params=wanted), trial(0.5, params={"optimizer.lr": 0.01, "schedule.name": "constant"}))
    )
    best = trace(figure, "trial 0")
    expected = lr_curve(with_paths(TrainingConfig(), wanted), len(best.y))
    drawn = np.array([math.nan if y is None else y for y in best.y])
    positive = expected > 0
    np.testing.assert_array_equal(drawn[positive], expected[positive])
    assert set(trace(figure, "trial 1").y) == {0.01}
    assert figure.data[-1].name == "trial 0 (0.9)"


def test_learning_rates_of_ten_of_many(study, trial):
    made = study(*(trial(i / 30, params={"optimizer.lr": 0.01 + i / 100}) for i in range(30)))
    assert {t.name.split(" (")[0] for t in plot_learning_rates(made).data} == {f"trial {i}" for i in range(20, 30)}


def test_a_warmup_in_steps_is_left_out_because_its_share_is_unknown(study, trial):
    in_steps, in_share = {"schedule.warmup_steps": 50}, {"schedule.warmup_fraction": 0.1}
    figure = plot_learning_rates(study(trial(0.9, params=in_steps), trial(0.8, params=in_share)))
    assert [t.name for t in figure.data] == ["trial 1 (0.8)"]
    with pytest.raises(NothingToShow, match="given in steps"):
        plot_learning_rates(study(trial(0.9, params=in_steps)))


def test_a_users_own_loop_has_no_learning_rates_of_ours(study, trial):
    made = study(trial(0.5), spec={"train": "my.py:train", "objective": {"metric": "loss"}})
    with pytest.raises(NothingToShow, match="user's own"):
        plot_learning_rates(made)


def test_a_schedule_that_is_unknown_here_is_said_in_words(study, trial):
    made = study(trial(0.5, params={"schedule.name": "zigzag"}))
    with pytest.raises(NothingToShow, match="zigzag"):
        plot_learning_rates(made)


def test_importances_find_the_parameter_that_matters(study, trial):
    random = np.random.default_rng(0)
    pairs = 10 ** random.uniform(-3, 3, (80, 2))
    made = study(*(trial(-abs(math.log10(x)), params={"lr": float(x), "noise": float(y)}) for x, y in pairs), spec=None)
    (bars,) = plot_importances(made).data
    assert bars.y[-1] == "lr"
    assert bars.x[-1] > 0.8
    assert sum(bars.x) == pytest.approx(1)


@pytest.mark.parametrize(
    ("count", "value", "words"), [(19, lambda i: i, "Too few completed trials"), (30, lambda i: 1.0, "same value")]
)
def test_importances_say_why_they_are_not_drawn(study, trial, count, value, words):
    made = study(*(trial(float(value(i)), params={"lr": 0.1 + i}) for i in range(count)))
    with pytest.raises(NothingToShow, match=words):
        plot_importances(made)


def test_slices_show_a_conditional_parameter_where_it_was_active(study, trial):
    figure = plot_slices(
        study(
            trial(0.1, params={"lr": 0.1, "schedule": "cosine", "warmup": 0.05}),
            trial(0.2, params={"lr": 0.2, "schedule": "constant"}),
        )
    )
    by_name = {figure.layout[f"xaxis{i or ''}"].title.text: t for i, t in zip([0, 2, 3], figure.data, strict=True)}
    assert list(by_name["lr"].x) == [0.1, 0.2]
    assert list(by_name["schedule"].x) == ["cosine", "constant"]
    assert list(by_name["warmup"].customdata) == [0]
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis2.type == "category"


def test_slices_of_many_trials_keep_the_best(study, trial):
    values = np.random.default_rng(1).permutation(900).astype(float)
    (points,) = plot_slices(study(*(trial(float(v), params={"lr": 0.1}) for v in values)), most=200).data
    assert set(np.argsort(-values)[:50]) <= set(points.customdata)
    assert len(points.x) <= 200


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=25))
def test_bars_of_one_row_of_the_timeline_never_overlap(study, trial, times):
    figure = plot_timeline(study(*(trial(0.5, start=start, seconds=length) for start, length in times)))
    rows: dict[int, list[tuple[float, float]]] = {}
    for base, length, row in zip(figure.data[0].base, figure.data[0].x, figure.data[0].y, strict=True):
        begin = datetime.datetime.fromisoformat(str(base)).timestamp()
        rows.setdefault(row, []).append((begin, begin + length / 1000))
    for bars in rows.values():
        bars.sort()
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(bars))
    at_once = max(sum(s <= moment < s + n for s, n in times) for moment, _ in times)
    assert max(rows) == at_once


def test_a_running_trial_reaches_to_the_latest_time_known(study, trial):
    figure = plot_timeline(study(trial(0.5, start=0, seconds=30), trial(None, TrialState.RUNNING, start=10)))
    assert list(trace(figure, "running").x) == [20_000]


@pytest.mark.parametrize(("count", "panels"), [(2, 1), (3, 3)])
def test_the_front_is_optunas_in_every_pair_of_objectives(study, trial, count, panels):
    points = np.random.default_rng(2).random((40, count))
    spec = {"task": "digits", "objectives": [{"metric": f"m{i}"} for i in range(count)]}
    made = study(*(trial(list(map(float, p))) for p in points), directions=["minimize"] * count, spec=spec)
    figure = plot_pareto_front(made)
    fronts = [set(t.customdata) for t in figure.data if t.name == "front"]
    assert fronts == [{t.number for t in made.best_trials}] * panels
    assert {figure.layout.xaxis.title.text, figure.layout.yaxis.title.text} == {"m0", "m1"}


BY_CLASS = {
    "split": "val",
    "confusion": [[3, 1, 0], [0, 0, 0], [2, 0, 6]],
    "roc": [
        {"of_class": 0, "area": 0.9375, "false_positives": [0.0, 0.25, 1.0], "true_positives": [0.0, 1.0, 1.0]},
        {"of_class": 2, "area": 0.75, "false_positives": [0.0, 0.0, 1.0], "true_positives": [0.0, 0.5, 1.0]},
    ],
}


def test_the_confusion_matrix_is_the_winners_with_the_share_of_each_class(study, trial):
    other = {**BY_CLASS, "confusion": [[9]]}
    made = study(trial(0.7, attrs={"by_class": other}), trial(0.9, attrs={"by_class": BY_CLASS}), trial(0.8))
    figure = plot_confusion_matrix(made)
    (cells,) = figure.data
    assert [list(row) for row in cells.z] == [[0.75, 0.25, 0], [None, None, None], [0.25, 0, 0.75]]
    assert [list(row) for row in cells.text] == [["3", "1", ""], ["", "", ""], ["2", "", "6"]]
    assert list(cells.x) == list(cells.y) == ["0", "1", "2"]
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("taken for", "class")
    assert figure.layout.yaxis.autorange == "reversed"


def test_roc_curves_are_named_with_their_areas(study, trial):
    figure = plot_roc_curves(study(trial(0.9, attrs={"by_class": BY_CLASS})))
    assert [one.name for one in figure.data] == ["class 0 (0.9375)", "class 2 (0.75)", "guessing"]
    assert list(zip(figure.data[1].x, figure.data[1].y, strict=True)) == [(0, 0), (0, 0.5), (1, 1)]
    with pytest.raises(NothingToShow, match="All examples are of one class"):
        plot_roc_curves(study(trial(0.9, attrs={"by_class": {**BY_CLASS, "roc": []}})))


@pytest.mark.parametrize("plot", [plot_confusion_matrix, plot_roc_curves])
def test_what_was_not_kept_by_class_is_said(study, trial, plot):
    with pytest.raises(NothingToShow, match="Nothing was kept by class for trial 1"):
        plot(study(trial(0.7, attrs={"by_class": BY_CLASS}), trial(0.9)))
    for broken in ("[]", [], {**BY_CLASS, "more": 1}, {**BY_CLASS, "confusion": [[math.nan]]}):
        with pytest.raises(NothingToShow, match="kept by class for trial 0 cannot be read"):
            plot(study(trial(0.9, attrs={"by_class": broken})))
    several = study(trial([0.9, 0.1], attrs={"by_class": BY_CLASS}), directions=["maximize"] * 2, spec=None)
    with pytest.raises(NothingToShow, match="no single winner"):
        plot(several)


@pytest.mark.parametrize(
    "plot",
    [
        plot_confusion_matrix,
        plot_history,
        plot_learning_curves,
        plot_learning_rates,
        plot_importances,
        plot_roc_curves,
        plot_slices,
        plot_timeline,
    ],
)
def test_an_empty_study_has_a_sentence_instead_of_a_figure(study, plot):
    with pytest.raises(NothingToShow, match=r"^[A-Z].*\.$"):
        plot(study())


def test_figures_need_nothing_of_hpo_in_a_study():
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    made.optimize(lambda t: t.suggest_float("x", -1, 1) ** 2, n_trials=25)
    for plot in (plot_history, plot_importances, plot_slices, plot_timeline):
        assert plot(made).data
