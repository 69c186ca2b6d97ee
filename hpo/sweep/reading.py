"""From a file's text to plain keys: overrides set, environment filled in, other tools' keys named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hpo import yaml12
from hpo.encryption import opened
from hpo.errors import NotFound, UserError, mask

# what other tools call what we call ...
FOREIGN = {
    "parameters": "space",
    "search_space": "space",
    "param_space": "space",
    "num_samples": "budget: {trials: ...}",
    "n_trials": "budget: {trials: ...}",
    "max_trials": "budget: {trials: ...}",
    "max_num_trials": "budget: {trials: ...}",
    "run_cap": "budget: {trials: ...}",
    "time_budget_s": "budget: {time: ...}",
    "timeout": "budget: {time: ...} for the sweep, trial: {timeout: ...} for one trial",
    "metric": "objective: {metric: ..., direction: maximize | minimize}",
    "mode": "objective: {metric: ..., direction: maximize | minimize}",
    "direction": "objective: {metric: ..., direction: maximize | minimize}",
    "directions": "objectives: [{metric: ..., direction: ...}, ...]",
    "method": "sampler",
    "algorithm": "sampler",
    "search_alg": "sampler",
    "scheduler": "pruner",
    "early_terminate": "pruner",
    "early_stopping": "pruner",
    "resources": "trial: {cpus: ..., gpus: ...}",
    "resources_per_trial": "trial: {cpus: ..., gpus: ...}",
    "cpus": "trial: {cpus: ...}",
    "gpus": "trial: {gpus: ...}",
    "max_concurrent_trials": "concurrency",
    "n_jobs": "concurrency",
    "parallelism": "concurrency",
    "study_name": "name",
    "project": "name",
    "program": "train",
    "trainable": "train",
    "entrypoint": "train",
    "config": "base",
    "epochs": "base: {epochs: ...}",
    "lr": "base: {optimizer: {lr: ...}}",
    "max_failures": "failures: {retries: ...}",
    "checkpoint": "checkpoints: {path: ..., every: ..., keep: ...}",
    "checkpoint_config": "checkpoints: {path: ..., every: ..., keep: ...}",
    "retries": "failures: {retries: ...}",
    "database": "storage",
    "storage_path": "storage",
    "random_state": "seed",
}

# ... and inside our own sections
FOREIGN_INSIDE = {
    "objective": {"name": "metric", "mode": "direction", "goal": "direction", "type": "direction"},
    "budget": {
        "n_trials": "trials",
        "num_samples": "trials",
        "max_trials": "trials",
        "count": "trials",
        "timeout": "time",
        "time_budget_s": "time",
    },
    "trial": {"cpu": "cpus", "gpu": "gpus", "num_cpus": "cpus", "num_gpus": "gpus", "time": "timeout"},
    "checkpoints": {
        "folder": "path",
        "dir": "path",
        "interval": "every",
        "frequency": "every",
        "checkpoint_frequency": "every",
        "num_to_keep": "keep",
        "max_to_keep": "keep",
        "save_top_k": "keep",
    },
    "failures": {"max_failures": "retries", "max_retries": "retries"},
}

# keys that hold text even where the environment's value looks like a number
_TEXTS = ("name", "task", "train", "storage", "checkpoints.path")

_ENV = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def read_file(path: Path, folder: Path | None = None, key: str = "") -> dict[str, Any]:
    """A YAML file's keys, also of one that is encrypted. Raises NotFound, or UserError with file and line.

    folder: what `path` hangs on, the working directory by default. key: the key that named the file, put in front.
    """
    where = f"{key}: " if key else ""
    try:
        with ((folder or Path.cwd()) / path).open("rb") as file:
            text = opened(file, f"{where}{path}").read().decode("utf-8")
    except FileNotFoundError:
        raise NotFound(f"{where}no file {str(path)!r} in {folder or Path.cwd()}") from None
    except IsADirectoryError:
        raise UserError(f"{where}{path} is a folder; a YAML file is needed") from None
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
        raise UserError(f"{where}{path} must be UTF-8 text, found {found}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{where}{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return {str(name): value for name, value in yaml12.load(text, f"{where}{path}").items()}


def with_base_file(keys: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`keys` with a `base` that names a file replaced by what the file holds, as it is written there."""
    base = fill_environment(keys.get("base"), "base")
    if isinstance(base, os.PathLike | str):
        return {**keys, "base": read_file(Path(base), folder, "base")}
    return dict(keys)


def read_override(text: str) -> tuple[str, Any]:
    """`base.epochs=5` as path and value, the value read as YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise UserError(f"override {text!r} must be a dotted key, = and a value, as in base.epochs=5")
    return path.strip(), yaml12.load(f"value: {value}", f"override {text!r}")["value"]


def with_overrides(keys: Mapping[str, Any], overrides: Iterable[str | tuple[str, Any]]) -> dict[str, Any]:
    """`keys` with dotted paths set. A path follows the keys as they are written, dotted or nested.

    overrides: `base.epochs=5` texts or (path, value) pairs.
    """
    changed: dict[str, Any] = _copied(keys)
    for override in overrides:
        path, value = read_override(override) if isinstance(override, str) else override
        _set(changed, path.split("."), value, path.split("."))
    return changed


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(below) for key, below in value.items()}
    return list(value) if isinstance(value, list) else value


def _set(node: dict[str, Any], parts: list[str], value: Any, whole: list[str]) -> None:
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        if key not in node:
            continue
        if length == len(parts):
            node[key] = value
            return
        if not isinstance(node[key], dict):
            # `sampler: tpe` and sampler.n_startup_trials=4: the short form grows
            if not isinstance(node[key], str | None):
                raise UserError(f"{'.'.join(whole)}: cannot be set, {key} is {node[key]!r}; set {key} itself")
            node[key] = {} if node[key] is None else {"name": node[key]}
        _set(node[key], parts[length:], value, whole)
        return
    if len(parts) == 1:
        node[parts[0]] = value
    else:
        _set(node.setdefault(parts[0], {}), parts[1:], value, whole)


def refuse_foreign(keys: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise UserError for a key that another tool uses, at the top or in a section of ours; it names ours."""
    ours = set(known)
    for key in keys:
        if key not in ours and key in FOREIGN:
            raise UserError(f"{key}: not a key of a sweep; write  {FOREIGN[key]}")
    for section, foreign in FOREIGN_INSIDE.items():
        for key in keys[section] if isinstance(keys.get(section), Mapping) else ():
            if key in foreign:
                raise UserError(f"{section}.{key}: not a key of {section}; write {foreign[key]}")


def fill_environment(value: Any, where: str = "") -> Any:
    """`value` with every `${env:NAME}` replaced; a text that is nothing else takes the variable's YAML type.

    Raises UserError naming key and variable when it is not set.
    """
    if isinstance(value, Mapping):
        return {key: fill_environment(below, f"{where}.{key}" if where else str(key)) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [fill_environment(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, str) or "${env:" not in value:
        return value

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise UserError(f"{where}: the environment variable {name} is not set")
        return os.environ[name]

    if "${env:" in _ENV.sub("", value):
        raise UserError(f"{where}: {value!r} is not of the form ${{env:NAME}}")
    filled = _ENV.sub(one, value)
    if _ENV.fullmatch(value) and where not in _TEXTS:
        try:
            typed = yaml12.load(f"value: {filled}", where)["value"]
        except UserError:
            return filled
        return typed if isinstance(typed, bool | int | float) else filled
    return filled


def holds_password(written: str) -> bool:
    """Whether a URL, as it is written, holds a password that is no `${env:NAME}`."""
    bare = _ENV.sub("", written)
    return mask(bare) != bare


def keep_environment(filled: Any, written: Any) -> Any:
    """`filled` with every value that was written with `${env:...}` as it was written: what may be stored.

    Dotted and nested keys are the same here too. Raises UserError for one in the space that cannot be put back.
    """
    places = dict(_places(written, ""))
    kept = _kept(filled, "", places)
    for path, text in places.items():
        section, _, last = path.rpartition(".")
        # `use`, `log: false`, a source and a type that the field has anyway are not in the canonical form
        if (
            path.startswith("space.")
            and not path.startswith("space.use.")
            and last not in ("log", "step", "type", "source")
        ):
            raise UserError(f"{section}: {text} can only stand below the parameter's canonical path, see `hpo check`")
    return kept


def _places(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Where `${env:...}` is written: dotted path and text."""
    if isinstance(value, str) and "${env:" in value:
        yield path, value
    for key, below in _below(value):
        yield from _places(below, _join(path, key))


def _kept(value: Any, path: str, places: dict[str, str]) -> Any:
    if path in places:
        return places.pop(path)
    below = [_kept(item, _join(path, key), places) for key, item in _below(value)]
    if isinstance(value, Mapping):
        return dict(zip(value, below, strict=True))
    if _are_pairs(value):
        return [[item[0], kept] for item, kept in zip(value, below, strict=True)]
    return below if isinstance(value, list | tuple) else value


def _below(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    if _are_pairs(value):
        return [(str(key), item) for key, item in value]
    return [(str(index), item) for index, item in enumerate(value)] if isinstance(value, list | tuple) else []


def _are_pairs(value: Any) -> bool:
    """Whether these are choices with branches in the form that JSON can hold: `[[64, {...}], [128, {}]]`."""
    return isinstance(value, list | tuple) and all(
        isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[1], Mapping) for item in value
    )


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key
