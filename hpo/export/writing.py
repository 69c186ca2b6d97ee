"""The best configuration out of a study, as a file that trains again to the same number."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo import yaml12
from hpo.encryption import encrypting
from hpo.errors import HpoError, NotFound, NotReproduced, UserError
from hpo.export.form import FORMAT, Exported, signed, versions
from hpo.export.training import Say, silent, value_alone
from hpo.schema import flatten, nest
from hpo.search import attributes
from hpo.search.company import workers_of
from hpo.studies import best_trials, opened, stored_sweep, trial_numbers, whoami
from hpo.sweep import Sweep
from hpo.sweep.reading import fill_environment
from hpo.training.paths import canonical
from hpo.whole_file import whole_file

if TYPE_CHECKING:
    import optuna

    from hpo.storage import StudyRecords

log = logging.getLogger("hpo.export")

_HEAD = "# Written by `hpo export`; `hpo train {file}` trains it again and compares. Edited by hand it is refused.\n"


def export_best(
    study: str | optuna.Study,
    path: str | Path,
    *,
    trial: int | None = None,
    storage: str | None = None,
    verify: bool = False,
    say: Say | None = None,
) -> Exported:
    """Write the best COMPLETE trial of `study` (or `trial`) to `path`; what was written.

    The file is encrypted where this process has a key (`hpo.encryption`).
    verify: train it first by itself; its number then is the export's value, which `train` gives bit for bit, and the
    study's stands beside it. say: called with lines for people; None is silent.
    Raises NotFound when there is no such study or trial, UserError for a trial that is not COMPLETE, and for several
    objectives without `trial`; with `verify` also what `train` raises.
    """
    if isinstance(study, str):
        with opened(study, storage) as (found, place):
            exported = export_best(found, path, trial=trial, verify=verify, say=say)
            _note(exported, Path(path).absolute(), place.records(study))
            return exported
    stored = stored_sweep(study)
    chosen = _chosen(study, trial)
    sweep = Sweep.from_dict(stored["keys"], Path(stored["folder"]))
    goal, seed = sweep.goals[0], chosen.user_attrs[attributes.SEED]
    objective = {"metric": goal.metric, "direction": goal.direction, "at": goal.at, "step": _step(goal.at, chosen)}
    params = sweep.search_space.settings(chosen.params)
    config = sweep.trained.full_config({**params, "seed": seed})
    content: dict[str, Any] = {
        "format": FORMAT,
        "study": study.study_name,
        "trial": chosen.number,
        "objective": objective,
        "value": chosen.values[0],
        "packed": bool(chosen.user_attrs.get(attributes.PACKED)),
        "workers": workers_of(chosen.user_attrs),
        "sweep": {key: stored["keys"][key] for key in ("task", "train", "plugins", "base") if key in stored["keys"]},
        "params": params,
        "config": _keep_references(config, stored["keys"]["base"], params),
        "code": stored["digests"],
        "folder": stored["folder"],
        "seed": seed,
        "threads": max(1, int(sweep.trial.cpus)),
        "device": "cuda" if sweep.trial.gpus > 0 else "cpu",
        "versions": versions(),
    }
    target = Path(path)
    with (
        whole_file(target, "--output") as file,
        encrypting(file) as stream,
    ):  # a place that cannot be written is said before the training
        exported = signed(content)
        if verify:
            exported = _verified(exported, say or silent)
        stream.write((_HEAD.format(file=target.name) + yaml12.dump(exported.model_dump())).encode())
    return exported


def _verified(exported: Exported, say: Say) -> Exported:
    """The export with the number of its trial trained alone. Raises NotReproduced where there is none."""
    metric = exported.objective.metric
    value = value_alone(exported, say)
    if value is None:
        raise NotReproduced(f"trial {exported.trial} trained by itself did not report {metric}")
    apart = f"{abs(value - exported.value):.3g} apart" if value != exported.value else "the same"
    how = f", {exported.company}" if exported.company else ""
    say(f"{metric} {value!r} by itself, {exported.value!r} in the study{how}: {apart}")
    return signed({**exported.model_dump(exclude={"digest"}), "value": value, "value_in_study": exported.value})


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


def _note(exported: Exported, path: Path, records: StudyRecords) -> None:
    """In SQL, where there is the right to write; without it the export is as good."""
    try:
        records.add_export(exported.trial, str(path), exported.digest, whoami(), datetime.now(UTC))
    except HpoError as error:
        log.warning("the export was not noted with the study: %s", error)
