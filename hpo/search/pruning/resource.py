"""What a pruner takes for `auto`: guessed once, then kept with the study.

Optuna guesses anew in each process, from whatever trials there are then, and so may change its rungs at a restart.
"""

from __future__ import annotations

from collections.abc import Callable

from optuna.study import Study
from optuna.trial import TrialState

from hpo.search import attributes


def kept(study: Study) -> int | None:
    """The resource the study was guessed to have, None when nobody guessed yet."""
    known = study._storage.get_study_user_attrs(study._study_id).get(attributes.RESOURCE)
    return known if isinstance(known, int) else None


def settled(study: Study, guess: Callable[[int], int]) -> int | None:
    """The study's resource; where there is none yet, `guess` of the longest COMPLETE trial's last step, kept from then.

    None as long as no COMPLETE trial reported a step.
    """
    known = kept(study)
    if known is not None:
        return known
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.COMPLETE,))
    longest = max((trial.last_step for trial in trials if trial.last_step is not None), default=None)
    if longest is None:
        return None
    study._storage.set_study_user_attr(study._study_id, attributes.RESOURCE, guess(longest))
    return guess(longest)
