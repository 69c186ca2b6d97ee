"""The parts of a conditional space and their order are Optuna's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.search_space.group_decomposed import _SearchSpaceGroup

from hpo.search.parzen.groups import parted


@given(st.lists(st.sets(st.sampled_from("abcdef"))))
def test_only_the_first_trial_of_each_kind_counts(kinds: list[set[str]]) -> None:
    trials = [{name: FloatDistribution(0, 1 + n) for name in sorted(kind)} for n, kind in enumerate(kinds)]
    theirs = _SearchSpaceGroup()
    for trial in trials * 2:
        theirs.add_distributions(dict(trial))
    first = {frozenset(trial): trial for trial in reversed(trials)}
    assert parted(first[kind] for kind in sorted(first, key=lambda kind: trials.index(first[kind]))) == (
        theirs.search_spaces
    )
