"""The parameters of a conditional space, parted so that each part is there as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from optuna.distributions import BaseDistribution

Part = dict[str, BaseDistribution]


def parted(kinds: Iterable[Mapping[str, BaseDistribution]]) -> list[Part]:
    """The coarsest partition of all names of which each of `kinds` is a union; parts in Optuna's order.

    kinds: one mapping for each set of names that trials have, by their lowest number. As Optuna's
    `_GroupDecomposedSearchSpace` has it in a new process; in an old one its order hangs on when it was asked, too.
    """
    parts: list[Part] = []
    for kind in kinds:
        rest = dict(kind)
        split: list[Part] = []
        for part in parts:
            split += [
                {name: domain for name, domain in part.items() if name in kind},
                {name: domain for name, domain in part.items() if name not in kind},
            ]
            rest = {name: domain for name, domain in rest.items() if name not in part}
        parts = [part for part in [*split, rest] if part]
    return parts
