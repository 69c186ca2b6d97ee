"""An export trained: again, to compare with what it says, or first by itself, for what it is to say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hpo.encryption import current
from hpo.errors import UserError
from hpo.export.form import Exported, read_export, versions
from hpo.export.result import TrainResult, is_within, tolerance
from hpo.loader import find_file, run_file
from hpo.schema import Frozen, check, flatten
from hpo.sweep.reading import fill_environment, read_override
from hpo.sweep.trained import trained_by
from hpo.tasks.content import digest_of

if TYPE_CHECKING:
    from hpo.training.again import Again

Say = Callable[[str], None]


def train(
    path: str | Path,
    *,
    overrides: Iterable[str | tuple[str, Any]] = (),
    weights: str | Path | None = None,
    say: Say | None = None,
) -> TrainResult:
    """Train an export again, compare with the recorded number, and evaluate the test split once.

    The number of a trial that was trained in a pack or by several workers, where it is another one, is compared within
    a tolerance, for which it is trained once or twice more.
    overrides: changed paths of the configuration, `epochs=100`; then nothing is compared. weights: keep the network as
    safetensors. say: called with lines for people; None is silent.
    Raises UserError for an export that cannot be used, Diverged for NaN or infinity; `result.check()` raises
    NotReproduced.
    """
    exported = read_export(path)
    changes = dict(read_override(item) if isinstance(item, str) else item for item in overrides)
    if weights is not None:
        _check_weights(exported, Path(weights))
    say = say or silent
    differs = _differences(exported)
    prepared = _prepare(exported, changes)
    _announce(exported, differs, "again", say)
    with _threads(exported.threads):
        again = prepared()
    ignored = [name for name in changes if name in again.unread]
    if ignored:
        raise UserError(f"override {ignored[0]}: the training function never read this parameter from its config")
    if weights is not None:
        again.save_weights(Path(weights))
    metric, until = exported.objective.metric, exported.objective.until
    reported = again.at(None if changes else until)
    value, grain = reported.get(metric), again.grain.get(metric)
    loose = not (exported.exact or changes or value in (None, exported.value))
    near = _tolerance(exported, prepared, again, say) if loose else None
    return TrainResult(
        exported,
        value=value,
        metrics=reported,
        test=again.test,
        compared=not changes,
        differs=differs,
        net=again.net,
        by_class=again.by_class,
        tolerance=near,
        examples=None if grain is None else round(1 / grain),
    )


def value_alone(exported: Exported, say: Say) -> float | None:
    """What the trial's objective is when it is trained by itself; None where it does not report it. Nothing is tested.

    Raises what `train` raises.
    """
    prepared = _prepare(exported, {})
    _announce(exported, _differences(exported), "by itself", say)
    with _threads(exported.threads):
        again = prepared(tested=False)
    return again.at(exported.objective.until).get(exported.objective.metric)


def _tolerance(exported: Exported, prepared: Callable[..., Again], again: Again, say: Say) -> float:
    """What a change of one ulp leads to: up, and before a number is called another one, down too."""
    metric, until = exported.objective.metric, exported.objective.until
    value, grain = again.at(until)[metric], again.grain.get(metric)
    trainings = [again]
    for moved, way in ((1, "up"), (-1, "down")):
        from_where = f"once more, from weights one ulp {way} ({exported.threads_text}) ..."
        say(f"another number than {exported.company}; {from_where}")
        with _threads(exported.threads):
            trainings.append(prepared(moved=moved))
        spread = max(one.distance(other, metric, until) for one, other in combinations(trainings, 2))
        near = tolerance(exported.value, spread, grain)
        if is_within(near, value, exported.value):
            break
    return near


def silent(text: str) -> None:
    """Say nothing."""
    del text


def _announce(exported: Exported, differs: Iterable[str], how: str, say: Say) -> None:
    for line in differs:
        say(f"warning: {line}")
    say(f"training trial {exported.trial} of {exported.study} {how} ({exported.threads_text}) ...")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepare(exported: Exported, changes: Mapping[str, Any]) -> Callable[..., Again]:
    """Everything that can be refused is refused here; what is left is to train, as `train_again` does."""
    from hpo.training.again import train_again

    folder = Path(exported.folder)
    keys = fill_environment(exported.sweep)
    plugins = tuple(find_file(item, folder, "plugins") for item in keys["plugins"])
    for plugin in plugins:
        run_file(Path(plugin.source), "plugins")
    config = fill_environment(exported.config, "config")
    # a seed is a setting of the trial for a task; a loop of the user's own may call anything `seed`
    seed = check(_Seed, {"seed": changes.get("seed", exported.seed)}).seed if config else exported.seed
    config.pop("seed", None)
    trained = trained_by(keys.get("task"), keys.get("train"), config or keys["base"], folder)
    return partial(
        train_again,
        trained.job(plugins, [exported.objective]),
        params={**exported.params, **changes},
        config=flatten(trained.full_config({**changes, "seed": seed})),
        seed=seed,
        number=exported.trial,
        device=exported.device,
        until=None if changes else exported.objective.until,
        workers=exported.workers,
    )


class _Seed(Frozen):
    seed: int = Field(ge=0, lt=2**63)


def _check_weights(exported: Exported, path: Path) -> None:
    """Said before the training rather than after it."""
    if "train" in exported.sweep:
        raise UserError("--output: a train: function keeps its own weights; only a task's can be saved here")
    if path.is_dir():
        raise UserError(f"--output: {path} is a folder; a file such as model.safetensors is needed")
    if not path.parent.is_dir():
        raise UserError(f"--output: {path} cannot be written: there is no folder {str(path.parent)!r}")
    current()  # raises for a key that cannot be used


def _differences(exported: Exported) -> tuple[str, ...]:
    """What is not as it was when the trial was trained, and may explain another number."""
    lines = [
        f"{file} has changed since the study"
        for file, before in exported.code.items()
        if Path(file).exists() and digest_of(Path(file)) != before
    ]
    lines += [
        f"{name} is {now}, it was {exported.versions.get(name)}"
        for name, now in versions().items()
        if exported.versions.get(name) != now
    ]
    return tuple(lines)
