"""The report: one HTML page that needs no network, made of the figures and tables of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
from optuna.study import Study

from hpo.report import tables
from hpo.report.confusion_matrix import plot_confusion_matrix
from hpo.report.document import document, place
from hpo.report.history import plot_history
from hpo.report.importances import plot_importances
from hpo.report.learning_curves import plot_learning_curves
from hpo.report.learning_rates import plot_learning_rates
from hpo.report.look import NothingToShow, text
from hpo.report.other_metrics import ReadMetrics, plot_other_metrics
from hpo.report.pareto_front import plot_pareto_front
from hpo.report.reading import Objective, has_by_class, note_on_weights, objectives, spec_of
from hpo.report.roc_curves import plot_roc_curves
from hpo.report.slices import plot_slices
from hpo.report.timeline import plot_timeline
from hpo.whole_file import whole_file


@dataclass(frozen=True)
class Section:
    """A part of the page. `body` gives markup or a figure; NothingToShow puts its sentence there instead."""

    key: str
    heading: str
    note: str
    body: Callable[[Study], str | go.Figure]


def write_report(
    study: Study, path: str | os.PathLike[str], *, title: str | None = None, metrics: ReadMetrics | None = None
) -> Path:
    """Write the report of `study` to `path`, replacing a file there, and return its absolute path.

    title: heading of the page, the study's name by default. metrics: gives what was reported besides the objective, by
    trial numbers; None leaves it out. The page (5 MB, most of it plotly.js) asks nothing of
    the network and works for any Optuna study: empty, failed, running, with several objectives. Text from the study
    cannot act as markup, and passwords in URLs are masked. Raises UserError when `path` cannot be written.
    """
    page = render(study, title=title, metrics=metrics)
    with whole_file(path, "report") as file:
        file.write(page.encode("utf-8"))
    return Path(path).absolute()


def render(study: Study, *, title: str | None = None, metrics: ReadMetrics | None = None) -> str:
    """The page as text."""
    heading = text(title if title is not None else study.study_name)
    figures: dict[str, go.Figure] = {}
    shown = list(sections(study, metrics))
    body = "".join(_section(section, study, figures) for section in shown)
    links = "".join(f'<a href="#{section.key}">{text(section.heading)}</a>' for section in shown)
    top = f"<h1>{heading}</h1>{tables.sweep(study)}{tables.header(study)}"
    return document(heading, top, f"<nav>{links}</nav>", body, figures)


def sections(study: Study, metrics: ReadMetrics | None = None) -> Iterator[Section]:
    """The parts of the page in order; which there are depends on the study's objectives and on whose loop it ran."""
    named = objectives(study)
    several = len(named) > 1
    if several:
        yield Section(
            "front", "Pareto front", "Trials that no other trial beats in every objective.", plot_pareto_front
        )
        yield Section("winner", "Trials of the front", "", tables.winner)
    else:
        yield Section("winner", "Winner", "", tables.winner)
        note = "Each trial's value; a pruned trial stands where it was stopped."
        yield Section("history", "Optimization history", note, plot_history)
    note = "Reported values by step. Click a name in the legend to hide or show its trials."
    yield Section("curves", "Learning curves", note, plot_learning_curves)
    if metrics is not None:
        note = "Everything else that was reported, by step; the winner in orange, an even choice of the others."
        yield Section("metrics", "Other metrics", note, lambda study: plot_other_metrics(study, metrics))
    if has_by_class(study):
        at_end = note_on_weights(study)
        note = f"What the winner takes the validation examples of each class for.{at_end}"
        yield Section("confusion", "Confusion matrix", note, plot_confusion_matrix)
        note = f"The winner on the validation split, each class against the others; areas in the legend.{at_end}"
        yield Section("roc", "ROC curves", note, plot_roc_curves)
    if spec_of(study).get("task"):
        yield Section("rates", "Learning rates", "Of the ten best trials; the best one in orange.", plot_learning_rates)
    note = (
        "Shares of the parameters in being among the best tenth. Below 50 completed trials take it as a hint, "
        "and what was searched narrowly cannot show its weight."
    )
    yield Section("importances", "Importances", note, plot_importances)
    for objective in named:
        yield _slices(objective, several)
    yield Section("timeline", "Timeline", "Rows are as many as trials ran at once.", plot_timeline)
    yield Section("failures", "Failures", "", tables.failures)


def _slices(objective: Objective, several: bool) -> Section:
    heading = f"Slices: {objective.name}" if several else "Slices"
    note = "Value against each parameter, completed trials, later ones darker."
    return Section(f"slices{objective.index}", heading, note, lambda study: plot_slices(study, objective.index))


def _section(section: Section, study: Study, figures: dict[str, go.Figure]) -> str:
    try:
        body = section.body(study)
    except NothingToShow as reason:
        inner = f'<p class="empty">{text(reason)}</p>'
    else:
        note = f'<p class="note">{text(section.note)}</p>' if section.note else ""
        if isinstance(body, str):
            inner = note + body
        else:
            figures[section.key] = body
            inner = note + place(section.key, body)
    return f'<section id="{section.key}"><h2>{text(section.heading)}</h2>{inner}</section>\n'
