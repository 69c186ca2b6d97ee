"""A space whose parameters are called by other names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hpo.errors import UserError
from hpo.space import Choice, Domain, Space


def renamed(space: Space, name_of: Callable[[str], str]) -> Space:
    """`space` with every parameter, in ties too, called by `name_of` its path. Raises UserError for two of one name."""
    paths = {*space.parameters(), *space.ties, *(path for tie in space.ties.values() for path in tie.paths)}
    if all(name_of(path) == path for path in paths):
        return space
    ties = {name_of(path): tie.renamed(name_of) for path, tie in space.ties.items()}
    return Space(_renamed(space, name_of), tie=ties)


def _renamed(domains: Mapping[str, Domain], name_of: Callable[[str], str]) -> dict[str, Domain]:
    found: dict[str, Domain] = {}
    for path, domain in domains.items():
        if isinstance(domain, Choice):
            pairs = zip(domain.choices, domain.branches, strict=True)
            branches = {value: _renamed(branch, name_of) for value, branch in pairs}
            inner = branches if any(branches.values()) else domain.choices
            domain = Choice(inner, domain.default, domain.source)
        name = name_of(path)
        if name in found:
            raise UserError(f"space.{name}: given twice, also as {path}; keep one")
        found[name] = domain
    return found
