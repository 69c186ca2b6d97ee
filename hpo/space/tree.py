"""The tree of a search space: parameters by dotted path, some of them living in the branches of a Choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

from hpo.errors import UserError, unknown
from hpo.space.checks import Scalar
from hpo.space.domains import Choice, Domain, Float, Int, Parameter, Suggester
from hpo.space.stored import ON, is_plain, kept, params_of, setting
from hpo.space.ties import Tie
from hpo.space.tying import in_order

Kinds = Callable[[str], Literal["int", "float"] | None]
"""The type of the field at a path, None where only the space itself can say; may raise UserError for a bad path."""

Chain = tuple[tuple[str, Scalar], ...]

KEYS = ("use", "tie")
"""What a space holds besides parameters, so that no parameter may be called so."""


class Space(Mapping[str, Domain]):
    """Parameters by dotted path. Immutable; nested mappings are accepted and mean the dotted form.

        Space({"optimizer.lr": Float(1e-4, 1, log=True),
               "schedule.name": Choice({"constant": {}, "cosine": {"schedule.floor": Float(0, 0.1)}})})

    As a mapping it holds the parameters that are always searched; `parameters()` has those of all branches too.
    The same path may stand in several branches, with the same domain. Two spaces are equal when they hold the same
    domains and ties; the order of paths is for people only and never changes a suggestion.

    Paths are the configuration's. A study may keep a parameter under other names (`hpo.space.stored`): `params` are by
    those names, `settings` by path. `a + b` is the space that has the parameters and ties of both.

    tie: parameters that follow from others, `{"optimizer.weight_decay": "0.1 * optimizer.lr"}`. They are no parameters
    of the study. Where a path of an expression is not searched, since its branch was not taken, the tie does not hold.
    where: put in front of the paths in error sentences. Raises UserError for: a value that is no domain, a path given
    twice, a branch that repeats a path searched outside it (its own choice's included), two domains for one path, a
    tie that is no expression, of a path that is searched, over one that is not, or in a circle.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any] | None = None,
        where: str = "space",
        tie: Mapping[str, str | Tie] | None = None,
    ) -> None:
        self._where = where
        self._domains: dict[str, Domain] = {}
        self._add(parameters or {}, "")
        seen: dict[str, Domain] = {}
        _check_tree(self, where, frozenset(), seen)
        self._ties = in_order(tie or {}, seen, where)
        self._stored: Space | None = None
        _ = self.stored  # says whether the study's names differ

    def _add(self, tree: Mapping[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            path = join(prefix, key, self._where)
            if path in KEYS:
                raise UserError(f"{label(self._where, path)}: is a key of the space itself, not a parameter's path")
            if isinstance(value, Float | Int | Choice):
                if path in self._domains:
                    raise UserError(f"{label(self._where, path)}: given twice; keep one")
                self._domains[path] = value
            elif isinstance(value, Mapping):
                self._add(value, path)
            else:
                raise UserError(f"{label(self._where, path)}: must be Float, Int or Choice, found {value!r}")

    def __getitem__(self, path: str) -> Domain:
        return self._domains[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Space):
            return NotImplemented
        return self._domains == other._domains and self._ties == other._ties

    def __hash__(self) -> int:
        return hash((frozenset(self._domains.items()), frozenset(self._ties.items())))

    def __repr__(self) -> str:
        tie = f", tie={ {path: tie.text for path, tie in self._ties.items()} }" if self._ties else ""
        return f"Space({self._domains!r}{tie})"

    def __add__(self, other: object) -> Space:
        if not isinstance(other, Space):
            return NotImplemented
        for path, domain in other.items():
            if self._domains.get(path, domain) != domain:
                raise UserError(f"{label(self._where, path)}: is in both spaces, with other domains; keep one")
        for path, tie in other.ties.items():
            if self._ties.get(path, tie) != tie:
                raise UserError(f"{label(self._where, path)}: is tied in both spaces, in other ways; keep one")
        return Space({**self._domains, **other._domains}, self._where, {**self._ties, **other._ties})

    def laid_under(self, parameters: Mapping[str, Domain], ties: Mapping[str, Tie]) -> Space:
        """This space with parameters and ties laid over it: each replaces what stands here of its path, wherever."""
        gone = frozenset({*parameters, *ties})
        kept_ties = {path: tie for path, tie in self._ties.items() if path not in gone}
        return Space({**_pruned(self, gone), **parameters}, self._where, {**kept_ties, **ties})

    @property
    def ties(self) -> Mapping[str, Tie]:
        """What follows from the parameters, each after those that it rests on."""
        return self._ties

    @property
    def stored(self) -> Space:
        """The space of the study's own parameters, by their names; this one where it has no scale of ours."""
        if self._stored is None:
            plain = all(is_plain(domain) for domain in self._domains.values())
            found: dict[str, Domain] = {}
            for path, domain in {} if plain else self._domains.items():
                new = kept(path, domain)
                for name in found.keys() & new.keys():
                    owner = name.rpartition(".")[0]
                    raise UserError(f"{label(self._where, name)}: is how the study calls a part of {owner}; keep one")
                found |= new
            self._stored = self if plain and not self._ties else Space(found or self._domains, self._where)
        return self._stored

    @classmethod
    def parse(cls, raw: Any, kinds: Kinds = lambda _path: None, where: str = "space") -> Space:
        """The space of a sweep file: dotted or nested paths, `{low, high, log, step, type}` or `{choices}` below them.

        kinds: what type the field at a path has; where it says None, bounds that are all whole numbers need `type`.
        Domain objects may stand anywhere in `raw`. Raises UserError in one sentence that names the path.
        """
        from hpo.space.reader import parse  # the reader builds spaces

        return parse(raw, kinds, where)

    @classmethod
    def from_json(cls, text: str) -> Space:
        """The inverse of `to_json`."""
        return cls.parse(json.loads(text))

    def to_raw(self, sources: bool = True) -> dict[str, Any]:
        """The canonical form of the sweep file: dotted paths, types stated; JSON and YAML keep it as it is.

        sources: with the words that say where ranges come from.
        """
        raw: dict[str, Any] = {path: domain.raw(sources) for path, domain in self._domains.items()}
        return raw | ({"tie": {path: tie.text for path, tie in self._ties.items()}} if self._ties else {})

    def to_json(self) -> str:
        """`to_raw` as JSON text."""
        return json.dumps(self.to_raw(), allow_nan=False)

    def suggest(self, trial: Suggester) -> dict[str, Any]:
        """Ask `trial` for every parameter, branches after the choice that opened them; by the study's names.

        Names are asked for in alphabetical order within a level, so that an edit of their order changes nothing.
        """
        params: dict[str, Any] = {}
        self.stored._suggest(trial, params)
        return params

    def settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What a point of the study means for the configuration: values by path, ties among them.

        Raises UserError naming a tie that has no value there, KeyError where `params` is not a point of the space.
        """
        if self.stored is self:
            return dict(params)
        found: dict[str, Any] = {}
        self._settle(params, found)
        for path, tie in self._ties.items():
            if all(name in found for name in tie.paths):
                try:
                    found[path] = tie.value(found)
                except UserError as error:
                    raise UserError(f"{label(self._where, f'tie.{path}')}: {error}") from None
        return found

    def _settle(self, params: Mapping[str, Any], found: dict[str, Any]) -> None:
        for path in sorted(self._domains):
            domain = self._domains[path]
            found[path] = setting(path, domain, params)
            if isinstance(domain, Choice):
                domain.branch(found[path])._settle(params, found)

    def defaults(self) -> dict[str, Any]:
        """The recommended values that there are, in all branches, by the study's names."""
        told = {path: domain for path, domain in self.parameters().items() if domain.default is not None}
        params: dict[str, Any] = {}
        for path, domain in told.items():
            params |= params_of(path, domain, domain.default)
        return params

    def zeros(self) -> dict[str, float]:
        """The study's switches of parameters that may be 0: the probability of being off, by name."""
        found = {path: domain.zero for path, domain in self.parameters().items() if domain.zero is not None}
        return {f"{path}.{ON}": float(zero) for path, zero in found.items()}

    def _suggest(self, trial: Suggester, params: dict[str, Any]) -> None:
        for path in sorted(self._domains):
            domain = self._domains[path]
            value = params[path] = domain.suggest(trial, path)
            if isinstance(domain, Choice):
                domain.branch(value)._suggest(trial, params)

    def validate(self, params: Mapping[str, Any]) -> None:
        """Whether `params` is one point of the study: every active parameter there, in its domain, and nothing else.

        Raises UserError naming the first path that is missing, outside its domain, in a branch not taken, or unknown.
        """
        active: set[str] = set()
        space = self.stored
        space._validate(params, active)
        for path, value in params.items():
            if path in active:
                continue
            for parameter in space.describe():
                if parameter.path == path:
                    raise UserError(f"{parameter}: not searched with these choices, found {value!r}")
            raise unknown("", "parameter", path, space.parameters())

    def _validate(self, params: Mapping[str, Any], active: set[str]) -> None:
        for path, domain in self._domains.items():
            if path not in params:
                raise UserError(f"{path}: missing; it must be {domain.kind} {domain.range}")
            problem = domain.problem(params[path])
            if problem:
                raise UserError(f"{path}: {problem}")
            active.add(path)
            if isinstance(domain, Choice):
                domain.branch(params[path])._validate(params, active)

    def parameters(self) -> dict[str, Domain]:
        """All parameters of all branches, each choice before what it brings."""
        return {parameter.path: parameter.domain for parameter in self.describe()}

    def conditional(self) -> set[str]:
        """The paths that live only in branches, and ties over such."""
        found = set(self.parameters()) - set(self._domains)
        for path, tie in self._ties.items():
            found |= {path} if found & set(tie.paths) else set()
        return found

    def rests_on(self, paths: Collection[str]) -> set[str]:
        """`paths`, and all that the ties among them follow from."""
        found = set(paths)
        for path, tie in reversed(list(self._ties.items())):
            found |= set(tie.paths) if path in found else set()
        return found

    def describe(self) -> list[Parameter]:
        """All parameters with the conditions under which they are searched, each choice before what it brings."""
        found: dict[str, tuple[Domain, list[Chain]]] = {}
        for path, domain, chain in self._walk(()):
            found.setdefault(path, (domain, []))[1].append(chain)
        return [
            Parameter(path, domain, tuple(chain for chain in chains if chain))
            for path, (domain, chains) in found.items()
        ]

    def _walk(self, chain: Chain) -> Iterator[tuple[str, Domain, Chain]]:
        for path, domain in self._domains.items():
            yield path, domain, chain
            if isinstance(domain, Choice):
                for value, branch in zip(domain.choices, domain.branches, strict=True):
                    yield from branch._walk((*chain, (path, value)))

    def overlaps(self) -> list[tuple[str, str]]:
        """Pairs (path, longer path) where a parameter's path is also the beginning of another's.

        Right for `regularization.mixup` beside `regularization.mixup.prob`; whether it is right elsewhere, who knows
        the configuration decides.
        """
        paths = sorted(self.parameters())
        return [(a, b) for a in paths for b in paths if b.startswith(a + ".")]

    def size(self) -> int | None:
        """How many points the space has, None when a parameter is a continuum.

        An upper bound where two choices that are made at once bring the same parameter.
        """
        if self.stored is not self:
            return self.stored.size()
        total = 1
        for domain in self._domains.values():
            if isinstance(domain, Choice):
                sizes = [branch.size() for branch in domain.branches]
                known = [size for size in sizes if size is not None]
                if len(known) < len(sizes):
                    return None
                total *= sum(known)
            elif domain.size is None:
                return None
            else:
                total *= domain.size
        return total

    def endless(self) -> str | None:
        """The first parameter, in any branch, that has no finite list of values; None when all have one."""
        for path, domain in self.parameters().items():
            # a logarithm's is one number or a continuum, on each of the scales
            if not isinstance(domain, Choice) and domain.size is None:
                return path
        return None

    def grid(self) -> dict[str, list[Any]]:
        """The finite list of values of every parameter.

        Raises UserError for a space with branches and for a Float without a step.
        """
        if self.stored is not self:
            return self.stored.grid()
        conditional = next((parameter for parameter in self.describe() if parameter.when), None)
        if conditional is not None:
            raise UserError(
                f"{label(self._where, conditional.path)}: a grid cannot hold parameters of a branch",
                hint="sampler: brute_force goes through spaces with branches",
            )
        endless = self.endless()
        if endless is not None:
            raise UserError(f"{label(self._where, endless)}: a grid needs a finite list of values; give it a step")
        return {path: list(domain.values() or ()) for path, domain in self._domains.items()}


def join(prefix: str, key: Any, where: str) -> str:
    """The path of `key` below `prefix`; an empty key stands for the prefix itself. UserError for what is no path."""
    if not isinstance(key, str):
        raise UserError(f"{label(where, prefix)}: a parameter's path must be text, found {key!r}")
    path = f"{prefix}.{key}" if prefix and key else prefix or key
    if not all(path.split(".")) or path != path.strip():
        raise UserError(f"{label(where, path)}: {path!r} is not a path; write words joined by single dots")
    return path


def label(where: str, path: str) -> str:
    """How error sentences call a path."""
    return ".".join(part for part in (where, path) if part)


def _pruned(space: Mapping[str, Domain], gone: frozenset[str]) -> dict[str, Domain]:
    """The domains without some paths, also in branches; a choice that goes takes its branches along."""
    left: dict[str, Domain] = {}
    for path, domain in space.items():
        if path in gone:
            continue
        if isinstance(domain, Choice) and any(gone & set(branch.parameters()) for branch in domain.branches):
            pairs = zip(domain.choices, domain.branches, strict=True)
            domain = Choice({v: _pruned(branch, gone) for v, branch in pairs}, domain.default, domain.source)
        left[path] = domain
    return left


def _check_tree(space: Space, where: str, outside: frozenset[str], seen: dict[str, Domain]) -> None:
    """No path twice on the way to a leaf, one domain for a path wherever it stands."""
    inside = outside | frozenset(space)
    for path, domain in space.items():
        if path in outside:
            raise UserError(f"{label(where, path)}: is searched outside this branch too; keep one")
        if seen.setdefault(path, domain) != domain:
            raise UserError(
                f"{label(where, path)}: has another domain in another branch ({domain.range}; {seen[path].range}); "
                "the same path must have the same domain"
            )
        if isinstance(domain, Choice):
            for value, branch in zip(domain.choices, domain.branches, strict=True):
                _check_tree(branch, label(where, f"{path}.choices.{value}"), inside, seen)
