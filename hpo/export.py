"""The best configuration out of a study, as a file that trains again to the same number.

The file holds all it takes: what is trained (with the digest of its code), the full configuration, the seed, the
threads, the value to compare with, and a digest of itself. A value that the sweep takes from the environment stays
`${env:NAME}` in it and is filled in when it is trained, so no secret lies there.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hpo import __version__, yaml12
from hpo.encryption import current, encrypting
from hpo.errors import HpoError, NotFound, NotReproduced, UserError
from hpo.loader import digest, find_file, run_file
from hpo.schema import Frozen, check, flatten, nest
from hpo.search import attributes
from hpo.studies import best_trials, opened, stored_sweep, trial_numbers, whoami
from hpo.sweep import Sweep
from hpo.sweep.reading import fill_environment, read_file, read_override
from hpo.sweep.trained import trained_by
from hpo.training.paths import canonical
from hpo.whole_file import whole_file

if TYPE_CHECKING:
    import optuna
    from torch import nn

    from hpo.storage import StudyRecords
    from hpo.training.again import Again
    from hpo.training.by_class import ByClass

log = logging.getLogger("hpo.export")

FORMAT = 1
_HEAD = "# Written by `hpo export`; `hpo train {file}` trains it again and compares. Edited by hand it is refused.\n"


class ExportedObjective(Frozen):
    """Which number the value is. step: of the report that gave it, None for what the function returned."""

    metric: str
    direction: Literal["maximize", "minimize"]
    at: Literal["last", "best"]
    step: int | None = None

    @property
    def until(self) -> int | None:
        """The step to stop at for this number; None: the end."""
        return self.step if self.at == "best" else None


class Exported(Frozen):
    """The content of an export."""

    format: int = Field(description="version of this file's form")
    study: str
    trial: int
    objective: ExportedObjective
    value: float
    sweep: dict[str, Any] = Field(description="what is trained: task or train, plugins, base")
    params: dict[str, Any] = Field(description="the trial's parameters")
    config: dict[str, Any] = Field({}, description="the full TrainingConfig; empty for a user's own loop")
    code: dict[str, str] = Field({}, description="digests of the code files it rests on")
    folder: str = Field(description="where the user's modules are looked for")
    seed: int
    threads: int = Field(ge=1)
    device: str
    versions: dict[str, str]
    digest: str

    @property
    def shown_value(self) -> str:
        """`val_accuracy 0.991667`."""
        return f"{self.objective.metric} {self.value:.6g}"


def export_best(
    study: str | optuna.Study, path: str | Path, *, trial: int | None = None, storage: str | None = None
) -> Exported:
    """Write the best COMPLETE trial of `study` (or `trial`) to `path`; what was written.

    The file is encrypted where this process has a key (`hpo.encryption`). Raises NotFound when there is no such study
    or trial, UserError for a trial that is not COMPLETE, and for several objectives without `trial`.
    """
    if isinstance(study, str):
        with opened(study, storage) as (found, place):
            exported = export_best(found, path, trial=trial)
            _note(exported, Path(path).absolute(), place.records(study))
            return exported
    stored = stored_sweep(study)
    chosen = _chosen(study, trial)
    sweep = Sweep.from_dict(stored["keys"], Path(stored["folder"]))
    goal, seed = sweep.goals[0], chosen.user_attrs[attributes.SEED]
    objective = {"metric": goal.metric, "direction": goal.direction, "at": goal.at, "step": _step(goal.at, chosen)}
    config = sweep.trained.full_config({**chosen.params, "seed": seed})
    content: dict[str, Any] = {
        "format": FORMAT,
        "study": study.study_name,
        "trial": chosen.number,
        "objective": objective,
        "value": chosen.values[0],
        "sweep": {key: stored["keys"][key] for key in ("task", "train", "plugins", "base") if key in stored["keys"]},
        "params": dict(chosen.params),
        "config": _keep_references(config, stored["keys"]["base"], chosen.params),
        "code": stored["digests"],
        "folder": stored["folder"],
        "seed": seed,
        "threads": max(1, int(sweep.trial.cpus)),
        "device": "cuda" if sweep.trial.gpus > 0 else "cpu",
        "versions": _versions(),
    }
    exported = check(Exported, {**content, "digest": digest_of(content)})
    target = Path(path)
    text = _HEAD.format(file=target.name) + yaml12.dump(exported.model_dump())
    with whole_file(target, "--output") as file, encrypting(file) as stream:
        stream.write(text.encode())
    return exported


def _step(at: str, trial: optuna.trial.FrozenTrial) -> int | None:
    """The step of the trial's value."""
    return trial.user_attrs.get(attributes.BEST_STEP) if at == "best" else trial.last_step


def _keep_references(config: Mapping[str, Any], base: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with what `base` takes from the environment as it is written there."""
    kept = flatten(config)
    for path, written in flatten(base).items():
        filled, name = fill_environment(written, path), canonical(path)
        if filled != written and name not in params and kept.get(name) == filled:
            kept[name] = written
    return nest(kept)


def _chosen(study: optuna.Study, number: int | None) -> optuna.trial.FrozenTrial:
    trials = study.get_trials(deepcopy=False)
    if number is None:
        if len(study.directions) > 1:
            front = ", ".join(str(one.number) for one in best_trials(study))
            raise UserError(f"study {study.study_name!r} has several objectives; choose with --trial (front: {front})")
        return trials[best_trials(study)[0].number]
    if not 0 <= number < len(trials):
        raise NotFound(f"study {study.study_name!r} has no trial {number}; {trial_numbers(len(trials))}")
    if trials[number].state.name != "COMPLETE":
        raise UserError(f"--trial: trial {number} is {trials[number].state.name}; only a COMPLETE one can be exported")
    return trials[number]


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"hpo": __version__, "torch": version("torch"), "python": platform.python_version()}


def _note(exported: Exported, path: Path, records: StudyRecords) -> None:
    """In SQL, where there is the right to write; without it the export is as good."""
    try:
        records.add_export(exported.trial, str(path), exported.digest, whoami(), datetime.now(UTC))
    except HpoError as error:
        log.warning("the export was not noted with the study: %s", error)


def digest_of(content: Mapping[str, Any]) -> str:
    """Digest of an export's content, its own digest left out."""
    plain = {key: value for key, value in content.items() if key != "digest"}
    return blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16).hexdigest()


def read_export(path: str | Path) -> Exported:
    """The export at `path`. Raises UserError for a file of another form or version, or one that was altered."""
    content = read_file(Path(path))
    if "format" not in content:
        raise UserError(f"{path} is no export: it has no format; `hpo export NAME -o best.yaml` writes one")
    if content["format"] != FORMAT:
        raise UserError(f"{path}: format {content['format']!r} is not known; this hpo ({__version__}) reads {FORMAT}")
    if digest_of(content) != content.get("digest"):
        raise UserError(
            f"{path} was altered since it was exported (its digest does not fit its content)",
            hint=f"to change a value give it to the command: hpo train {path} epochs=100",
        )
    try:
        return check(Exported, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


@dataclass(frozen=True)
class TrainResult:
    """An export trained again.

    value: the objective now, None where it was not reached. recorded: the exported one. compared: false with
    overrides. test: metrics on the test split, empty where there is none. net: the trained network of a task.
    by_class: its confusion matrix and ROC curves on the test split, on the validation split where there is none.
    """

    exported: Exported
    value: float | None
    metrics: Mapping[str, float]
    test: Mapping[str, float]
    compared: bool
    differs: tuple[str, ...]
    net: nn.Module | None = None
    by_class: ByClass | None = None

    @property
    def recorded(self) -> float:
        """The value in the study."""
        return self.exported.value

    @property
    def reproduced(self) -> bool:
        """Whether the value is the recorded one, bit for bit."""
        return self.value == self.recorded

    def text(self) -> str:
        """For people."""
        metric = self.exported.objective.metric
        value = "not reported" if self.value is None else repr(self.value)
        if not self.compared:
            lines = [f"{metric}: {value} (not compared with the recorded {self.recorded!r}: options were changed)"]
        elif self.reproduced:
            lines = [f"reproduced: {metric} {value}, recorded {self.recorded!r}"]
        else:
            lines = [f"NOT reproduced: {metric} {value}, recorded {self.recorded!r}"]
        lines += [f"{name}: {number:.6g}" for name, number in self.test.items()]
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "metric": self.exported.objective.metric,
            "value": self.value,
            "recorded": self.recorded,
            "compared": self.compared,
            "reproduced": self.reproduced if self.compared else None,
            "metrics": dict(self.metrics),
            "test": dict(self.test),
            "by_class": self.by_class.model_dump(mode="json") if self.by_class is not None else None,
        }

    def check(self) -> None:
        """Raise NotReproduced when the number was compared and is another one."""
        if self.compared and not self.reproduced:
            reason = f"; {', '.join(self.differs)}" if self.differs else ""
            raise NotReproduced(
                f"{self.exported.objective.metric} is {self.value!r}, the study has {self.recorded!r}{reason}"
            )


def train(
    path: str | Path,
    *,
    overrides: Iterable[str | tuple[str, Any]] = (),
    weights: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> TrainResult:
    """Train an export again, compare with the recorded number, and evaluate the test split once.

    overrides: changed paths of the configuration, `epochs=100`; then nothing is compared. weights: keep the network as
    safetensors. say: called with lines for people; None is silent. Raises UserError for an export that cannot be used,
    Diverged for NaN or infinity; `result.check()` raises NotReproduced.
    """
    import torch

    exported = read_export(path)
    changes = dict(read_override(item) if isinstance(item, str) else item for item in overrides)
    if weights is not None:
        _check_weights(exported, Path(weights))
    differs = _differences(exported)
    prepared = _prepare(exported, changes)
    if say is not None:
        for line in differs:
            say(f"warning: {line}")
        threads = f"{exported.threads} thread{'s' if exported.threads != 1 else ''}"
        say(f"training trial {exported.trial} of {exported.study} again ({threads}) ...")
    before = torch.get_num_threads()
    torch.set_num_threads(exported.threads)
    try:
        again = prepared()
    finally:
        torch.set_num_threads(before)
    ignored = [name for name in changes if name in again.unread]
    if ignored:
        raise UserError(f"override {ignored[0]}: the training function never read this parameter from its config")
    if weights is not None:
        again.save_weights(Path(weights))
    reported = again.at(None if changes else exported.objective.until)
    return TrainResult(
        exported,
        value=reported.get(exported.objective.metric),
        metrics=reported,
        test=again.test,
        compared=not changes,
        differs=differs,
        net=again.net,
        by_class=again.by_class,
    )


def _prepare(exported: Exported, changes: Mapping[str, Any]) -> Callable[[], Again]:
    """Everything that can be refused is refused here; what is left is to train."""
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
        if Path(file).is_file() and digest(file) != before
    ]
    lines += [
        f"{name} is {now}, it was {exported.versions.get(name)}"
        for name, now in _versions().items()
        if exported.versions.get(name) != now
    ]
    return tuple(lines)


__all__ = ["Exported", "TrainResult", "export_best", "read_export", "train"]
