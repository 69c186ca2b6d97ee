"""From a file's text to plain keys: overrides set, environment filled in, other tools' keys named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hpo import yaml12
from hpo.errors import NotFound, UserError

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
    "retries": "failures: {retries: ...}",
    "database": "storage",
    "storage_path": "storage",
    "random_state": "seed",
}

_ENV = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def read_file(path: Path) -> dict[str, Any]:
    """A YAML file's keys. Raises NotFound, or UserError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"no file {str(path)!r} in {Path.cwd()}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; a sweep is one YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return {str(key): value for key, value in yaml12.load(text, str(path)).items()}


def read_override(text: str) -> tuple[str, Any]:
    """`base.epochs=5` as path and value, the value read as YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise UserError(f"override {text!r} must be a dotted key, = and a value, as in base.epochs=5")
    return path.strip(), yaml12.load(f"value: {value}", f"override {text!r}")["value"]


def with_overrides(keys: Mapping[str, Any], overrides: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`keys` with dotted paths set. A path follows the keys as they are written, dotted or nested."""
    changed = _copied(dict(keys))
    for path, value in overrides:
        _set(changed, path.split("."), value)
    return changed


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(below) for key, below in value.items()}
    return list(value) if isinstance(value, list) else value


def _set(node: dict[str, Any], parts: list[str], value: Any) -> None:
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        if key not in node:
            continue
        if length == len(parts):
            node[key] = value
            return
        if not isinstance(node[key], dict):
            # `sampler: tpe` and sampler.n_startup_trials=4: the short form grows
            node[key] = {} if node[key] is None else {"name": node[key]}
        _set(node[key], parts[length:], value)
        return
    if len(parts) == 1:
        node[parts[0]] = value
    else:
        _set(node.setdefault(parts[0], {}), parts[1:], value)


def refuse_foreign(keys: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise UserError for a top-level key that another tool uses; it names ours."""
    ours = set(known)
    for key in keys:
        if key not in ours and key in FOREIGN:
            raise UserError(f"{key}: not a key of a sweep; write  {FOREIGN[key]}")


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

    filled = _ENV.sub(one, value)
    if "${env:" in filled and "${env:" in value and not _ENV.search(value):
        raise UserError(f"{where}: {value!r} is not of the form ${{env:NAME}}")
    if _ENV.fullmatch(value):
        try:
            typed = yaml12.load(f"value: {filled}", where)["value"]
        except UserError:
            return filled
        return typed if isinstance(typed, bool | int | float) else filled
    return filled


def keep_environment(filled: Any, written: Any) -> Any:
    """`filled` with every value that was written with `${env:...}` as it was written: what may be stored."""
    if isinstance(written, str) and "${env:" in written:
        return written
    if isinstance(written, Mapping) and isinstance(filled, Mapping):
        return {
            key: keep_environment(value, written[key]) if key in written else value for key, value in filled.items()
        }
    if isinstance(written, list | tuple) and isinstance(filled, list | tuple) and len(written) == len(filled):
        return [keep_environment(value, before) for value, before in zip(filled, written, strict=True)]
    return filled
