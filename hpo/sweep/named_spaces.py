"""Spaces by name, for people who look at them: the curated ones, those of a Python file, those of a YAML file."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpo.errors import UserError, unknown
from hpo.loader import find, load
from hpo.space import Space
from hpo.sweep.reading import fill_environment, read_file
from hpo.sweep.spec import Sweep
from hpo.sweep.trained import TrainedLoop
from hpo.training import paths
from hpo.training.paths import canonical

PACKAGE = "search_spaces"


@dataclass(frozen=True)
class NamedSpace:
    """A space, how a sweep's `space: {use: [...]}` refers to it (None where it cannot), and the base beside it."""

    name: str
    space: Space
    reference: str | None = None
    summary: str = ""
    base: Mapping[str, Any] = field(default_factory=dict)


def curated() -> Iterator[NamedSpace]:
    """The curated spaces, by their names."""
    package = importlib.import_module(PACKAGE)
    for name in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        yield _curated(name)


def _curated(name: str) -> NamedSpace:
    module = importlib.import_module(f"{PACKAGE}.{name}")
    summary = (module.__doc__ or "").strip().splitlines()[0]
    return NamedSpace(name, module.SPACE, f"{PACKAGE}.{name}:SPACE", summary)


def find_space(text: str, folder: Path) -> NamedSpace:
    """The space that `text` names.

    A curated one (`mlp`), a space in Python (`my_space.py:SPACE`, `my_space.py` for its SPACE, `package.module:SPACE`),
    or a YAML file: a sweep, or a space by itself. Raises UserError in one sentence.
    """
    if text.endswith((".yaml", ".yml")):
        return _in_yaml(text, folder)
    if ":" in text or text.endswith(".py"):
        return _in_python(text if ":" in text else f"{text}:SPACE", folder)
    package = importlib.import_module(PACKAGE)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    if text not in names:
        error = unknown("hpo space", "space", text, names)
        raise UserError(str(error), hint="your own is a file: my_space.py:SPACE, a sweep's YAML, or a space's")
    return _curated(text)


def _in_python(text: str, folder: Path) -> NamedSpace:
    reference = find(text, folder, "hpo space")
    found = load(reference, "hpo space", folder)
    if not isinstance(found, Space):
        raise UserError(f"hpo space: {text} must be an hpo.space.Space, found {type(found).__name__}")
    summary = ast.get_docstring(ast.parse(Path(reference.source).read_bytes())) if reference.is_file else None
    return NamedSpace(text, found, str(reference), (summary or "").partition("\n")[0])


def _in_yaml(text: str, folder: Path) -> NamedSpace:
    path = folder / text
    keys = read_file(Path(text), folder)
    if any(key in keys for key in ("space", "task", "train", "objective", "objectives", "budget")):
        sweep = Sweep.from_file(path)
        return NamedSpace(text, sweep.search_space, None, f"the space of sweep {sweep.name}", sweep.base)
    bare = _Bare({}, path.resolve().parent, ())
    return NamedSpace(text, bare.parse_space(fill_environment(keys), bare.folder))


class _Bare(TrainedLoop):
    """Of a space by itself nobody knows what is trained: where its paths are a task's, their types are known."""

    def kind(self, path: str) -> Literal["int", "float"] | None:
        found = paths().get(canonical(path))
        return found.kind if found is not None and found.kind in ("int", "float") else None
