"""The checkpoints of a whole study, on one machine or a cluster: who sees their place, and cleaning it up."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from hpo.search.keeping import kept_trials
from hpo.search.plan import SearchPlan
from hpo.training.checkpoint import names
from hpo.training.places import Place
from hpo.tuning.files import TrialFiles

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

R = TypeVar("R")

ANSWERED_WITHIN = 30.0  # seconds: a node starts a process for it, and unpacks the user's folder first


def lie_apart(files: TrialFiles, say: Callable[[str], None]) -> bool:
    """Whether nodes of the cluster have checkpoints of their own; says so, and what it means. Ray is up."""
    try:
        blind = unseen(files)
    except OSError as error:
        say(f"checkpoints: {files.place().shown()} cannot be written: {error}")
        return True
    if blind:
        say(
            f"checkpoints: {files.place().shown()} is not the same on {', '.join(blind)}; trials of a lost node start "
            "anew (checkpoints.path names a folder that all nodes share, or a store)"
        )
    return bool(blind)


def unseen(files: TrialFiles) -> list[str]:
    """Addresses of the nodes that do not see what this process writes to the checkpoints' place.

    Raises OSError when this process cannot write there.
    """
    with _token(files.place()) as (name, content):
        answers = _on_every_node(lambda: _reads(files.place(), name, content))
    return sorted({address for address, sees in answers if not sees})


@contextlib.contextmanager
def tidied(
    files: TrialFiles, plan: SearchPlan, trials: Callable[[], Sequence[FrozenTrial]], *, apart: bool
) -> Iterator[None]:
    """Deletes, before a run and after one that came to its end, the checkpoints that nobody needs.

    trials: reads the study's, when there is something to decide. apart: each node has a place of its own.
    """
    _tidy(files, plan, trials, apart)
    yield
    _tidy(files, plan, trials, apart)


def _tidy(files: TrialFiles, plan: SearchPlan, trials: Callable[[], Sequence[FrozenTrial]], apart: bool) -> None:
    if not apart and not names(files.place()):
        return
    found = trials()
    ended = frozenset(trial.number for trial in found if trial.state.is_finished())
    kept = kept_trials(found, plan.keep, plan.objectives[0])
    if apart:
        _on_every_node(lambda: files.tidy(files.place(), ended, kept))
    else:
        files.tidy(files.place(), ended, kept)


@contextlib.contextmanager
def _token(place: Place) -> Iterator[tuple[str, bytes]]:
    name, content = f"hpo-{uuid.uuid4().hex}.token", uuid.uuid4().bytes
    place.write(name, lambda stream: stream.write(content))
    try:
        yield name, content
    finally:
        with contextlib.suppress(OSError):
            place.remove(name)


def _reads(place: Place, name: str, content: bytes) -> bool:
    try:
        with place.read(name) as stream:
            return stream.read() == content
    except OSError:
        return False


def _on_every_node(do: Callable[[], R]) -> list[tuple[str, R | None]]:
    """What `do` returns on each living node, with its address; None where it raised or did not answer in time."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(num_cpus=0, max_retries=0)(lambda: do())
    nodes: list[Any] = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    asked = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    ray.wait(asked, num_returns=len(asked), timeout=ANSWERED_WITHIN)
    return [(node["NodeManagerAddress"], _answer(one)) for node, one in zip(nodes, asked, strict=True)]


def _answer(asked: Any) -> Any:
    import ray

    try:
        return ray.get(asked, timeout=0)
    except (ray.exceptions.RayError, OSError):  # a timeout is both, where it is one
        return None
