"""The data of a registered task read before anything starts, and all that hangs on them checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpo.errors import UserError
from hpo.search.pruners import Pruner
from hpo.space import Space
from hpo.sweep.corners import corners_of_section
from hpo.sweep.trained import Goal, Trained, TrainedTask
from hpo.tasks import Task
from hpo.training import with_paths
from hpo.training.function import TaskJob
from hpo.training.reported import check_loss


def check_data(
    trained: Trained, space: Space, goals: Sequence[Goal], pruner: Pruner, bounds: Sequence[Goal] = ()
) -> tuple[str, ...]:
    """Make a registered task and check anew, now that targets, loss and number of examples are known; its notes.

    No code of the user's is run here: what that gives only the trials see. Raises UserError.
    """
    if not isinstance(trained, TrainedTask) or trained.own:
        return ()
    job = trained.job((), goals, bounds)
    assert isinstance(job, TaskJob)
    task = job.make()
    known = replace(trained, config=job.config_for(task), examples=len(task.train[0]))
    known.check(space, goals, pruner, bounds)
    _check_losses(known, task, space)
    return tuple(task.notes)


def _check_losses(known: TrainedTask, task: Task, space: Space) -> None:
    for params in corners_of_section(space, "loss"):
        try:
            check_loss(task, with_paths(known.config, params).loss)
        except UserError as error:
            place = "space" if "loss.name" in params else "base"
            raise UserError(f"{place}.{error}") from None
