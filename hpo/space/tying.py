"""The ties of one space: over what they are, and in which order they follow from each other."""

from __future__ import annotations

from collections.abc import Mapping

from hpo.errors import UserError, nearest
from hpo.space.checks import DomainError
from hpo.space.domains import Choice, Domain
from hpo.space.ties import Tie


def in_order(ties: Mapping[str, str | Tie], searched: Mapping[str, Domain], where: str) -> dict[str, Tie]:
    """The ties, each after those that it rests on.

    searched: the parameters of the space, branches included. Raises UserError naming the tie: for a path that is
    searched too, for an expression over one that is neither searched nor tied or that is no number, and for a circle.
    """
    begin = f"{where}.tie" if where else "tie"
    if not isinstance(ties, Mapping):
        raise UserError(f"{begin}: must be a mapping of paths to expressions, found {ties!r}")
    found: dict[str, Tie] = {}
    for path, tie in ties.items():
        if not isinstance(path, str) or not all(path.split(".")):
            raise UserError(f"{begin}: {path!r} is not a path; write words joined by single dots")
        if path in searched:
            raise UserError(f"{begin}.{path}: is searched too; keep one")
        try:
            found[path] = tie if isinstance(tie, Tie) else Tie(tie)
        except DomainError as error:
            raise UserError(f"{begin}.{path}: {error.text}") from None
    for path, tie in found.items():
        for name in tie.paths:
            _check_name(f"{begin}.{path}", name, found, searched)
    return _sorted(found, begin)


def _check_name(at: str, name: str, ties: Mapping[str, Tie], searched: Mapping[str, Domain]) -> None:
    known = [*searched, *ties]
    if name not in known:
        near = nearest(name, known)
        question = f"; did you mean {near!r}?" if near else ";"
        raise UserError(
            f"{at}: {name!r} is not searched{question} (searched: {', '.join(known)}; else write its number)"
        )
    domain = searched.get(name)
    if isinstance(domain, Choice):
        odd = [value for value in domain.choices if isinstance(value, bool) or not isinstance(value, int | float)]
        if odd:
            raise UserError(f"{at}: {name} is no number, it is one of {domain.range}")


def _sorted(ties: Mapping[str, Tie], begin: str) -> dict[str, Tie]:
    done: dict[str, Tie] = {}
    left = dict(ties)
    while left:
        ready = [path for path, tie in left.items() if not any(name in left for name in tie.paths)]
        if not ready:
            raise UserError(f"{begin}.{next(iter(left))}: goes in a circle ({_circle(left)})")
        for path in ready:
            done[path] = left.pop(path)
    return done


def _circle(left: Mapping[str, Tie]) -> str:
    """The way round, from a path that lies on it."""
    way = [next(iter(left))]
    while way[-1] not in way[:-1]:
        way.append(next(name for name in left[way[-1]].paths if name in left))
    return " needs ".join(way[way.index(way[-1]) :])
