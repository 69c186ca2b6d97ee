"""Plotly figures of a study, one function and module each, and the self-contained HTML page made of them.

Reads a plain `optuna.Study` and nothing else: nothing here writes to a study, and no Ray or SQL may come in.
"""

from hpo.report.confusion_matrix import plot_confusion_matrix
from hpo.report.history import plot_history
from hpo.report.importances import plot_importances
from hpo.report.learning_curves import plot_learning_curves
from hpo.report.learning_rates import plot_learning_rates
from hpo.report.look import NothingToShow
from hpo.report.other_metrics import plot_other_metrics
from hpo.report.page import write_report
from hpo.report.pareto_front import plot_pareto_front
from hpo.report.roc_curves import plot_roc_curves
from hpo.report.slices import plot_slices
from hpo.report.timeline import plot_timeline

__all__ = [
    "NothingToShow",
    "plot_confusion_matrix",
    "plot_history",
    "plot_importances",
    "plot_learning_curves",
    "plot_learning_rates",
    "plot_other_metrics",
    "plot_pareto_front",
    "plot_roc_curves",
    "plot_slices",
    "plot_timeline",
    "write_report",
]
