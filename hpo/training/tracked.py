"""`TrackedConfig`: the mapping that a user's own function reads, which knows what was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hpo.errors import UserError, nearest
from hpo.schema import flatten, nest


class MissingKey(KeyError):
    """A key that the config does not have."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:  # KeyError's own shows the repr
        return self.sentence


class TrackedConfig(Mapping[str, Any]):
    """A read-only config in which nested and dotted keys are one, and which records what was read.

    `config["optimizer.lr"]` and `config["optimizer"]["lr"]` are the same value and the same reading of `optimizer.lr`.
    A section is a TrackedConfig that shares its records. Taking a section reads nothing; iterating over one (also
    `dict(config)`, `**config`, `.items()`) reads all of it. A key asked for with `.get` or `in` counts as read.
    """

    def __init__(self, base: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> None:
        """base: nested or dotted values.  params: dotted paths laid over them.

        Raises UserError where one path is both a value and a section.
        """
        self._values = {**_flat(base), **_flat(params or {})}
        self._prefix = ""
        self._read: set[str] = set()
        for path in self._values:
            parent = path.rpartition(".")[0]
            while parent:
                if parent in self._values:
                    raise UserError(f"{parent}: is the value {self._values[parent]!r} and has {path} below it")
                parent = parent.rpartition(".")[0]

    def __getitem__(self, key: str) -> Any:
        path = f"{self._prefix}{key}"
        if path in self._values:
            self._read.add(path)
            return self._values[path]
        if any(name.startswith(f"{path}.") for name in self._values):
            return self._section(f"{path}.")
        raise MissingKey(self._missing(path))

    def __iter__(self) -> Iterator[str]:
        below = [path for path in self._values if path.startswith(self._prefix)]
        self._read.update(below)
        return iter(dict.fromkeys(path[len(self._prefix) :].split(".")[0] for path in below))

    def __len__(self) -> int:
        return len({path[len(self._prefix) :].split(".")[0] for path in self._values if path.startswith(self._prefix)})

    def __repr__(self) -> str:
        return f"TrackedConfig({self._tree()!r})"

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain nested dicts, for logging or saving; reads all of it."""
        iter(self)
        return self._tree()

    def unread(self, paths: Iterable[str]) -> list[str]:
        """Those of `paths` that no reading has touched, in their order; a section counts by what is below it."""
        return [
            path
            for path in paths
            if path not in self._read and not any(read.startswith(f"{path}.") for read in self._read)
        ]

    def paths(self) -> list[str]:
        """All dotted paths, without reading them."""
        return [path for path in self._values if path.startswith(self._prefix)]

    def _tree(self) -> dict[str, Any]:
        return nest({path[len(self._prefix) :]: self._values[path] for path in self.paths()})

    def _section(self, prefix: str) -> TrackedConfig:
        section = object.__new__(TrackedConfig)
        section._values, section._prefix, section._read = self._values, prefix, self._read
        return section

    def _missing(self, path: str) -> str:
        near = nearest(path, self._values)
        question = f"; did you mean {near!r}?" if near else ""
        return f"the config has no {path!r}{question} (it has: {', '.join(sorted(self._values)) or 'nothing'})"


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in flatten(nest(values)).items() if path}
