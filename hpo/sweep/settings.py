"""What the parameters that a study keeps of a trial mean for its configuration, read from the study alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hpo.errors import UserError
from hpo.space import Space
from hpo.sweep.reading import fill_environment

Settings = Callable[[Mapping[str, Any]], dict[str, Any]]


def settings_reader(keys: Mapping[str, Any]) -> Settings:
    """A function from a trial's parameters to its settings by path, ties among them.

    keys: those of the stored sweep, empty for a study that hpo did not make. Where the space cannot be read any more,
    and for a trial that was asked by half or enqueued outside of it, the parameters are given back as they are.
    """
    try:
        space = Space.parse(fill_environment(keys.get("space") or {}, "space"))
    except UserError:
        return dict

    def settings(params: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return space.settings(params)
        except (UserError, KeyError):
            return dict(params)

    return settings
