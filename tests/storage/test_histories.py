"""Random histories: after each, plain Optuna reads exactly what memory says, and so does a storage opened anew."""

from __future__ import annotations

import itertools
import math
from typing import Any

import optuna
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from hpo.storage import open_storage
from hpo.storage.batched import BatchedStorage
from hpo.testing.storage import assert_same_trials, plain_storage

DISTRIBUTIONS = {
    "optimizer.lr": FloatDistribution(1e-6, 1.0, log=True),
    "width": IntDistribution(1, 64),
    "kind": CategoricalDistribution(("a", None, 1, 0.5)),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(sorted(DISTRIBUTIONS))
KEYS = st.sampled_from(["reason", "seed", "ünïcode'\"%", "log path"])
# SQLite gives -0.0 back as 0.0
FLOATS = st.floats(width=64).map(lambda x: x + 0.0)
WHICH = st.integers(0, 7)
ACTIONS = st.one_of(
    st.tuples(st.just("ask")),
    st.tuples(st.just("enqueue"), st.dictionaries(NAMES, st.just(1.0), max_size=2), JSON),
    st.tuples(st.just("param"), WHICH, NAMES, st.sampled_from([1.0, 2.0, 3.0])),
    st.tuples(st.just("report"), WHICH, st.integers(0, 5), FLOATS),
    st.tuples(st.just("user"), WHICH, KEYS, JSON),
    st.tuples(st.just("system"), WHICH, KEYS, JSON),
    st.tuples(st.just("study"), KEYS, JSON),
    st.tuples(st.just("back"), WHICH),
    st.tuples(st.just("tell"), WHICH, st.sampled_from(["COMPLETE", "PRUNED", "FAIL"]), FLOATS),
    st.tuples(st.just("flush")),
    st.tuples(st.just("note"), KEYS, JSON),
    st.tuples(st.just("foreign"), WHICH),
)
names = itertools.count()


class History:
    """Plays actions on a storage, some of them by a plain Optuna beside it."""

    def __init__(self, storage: BatchedStorage, plain: optuna.storages.RDBStorage) -> None:
        self.storage, self.plain = storage, plain
        self.study_id = storage.create_new_study([StudyDirection.MINIMIZE], f"history-{next(names)}")

    def running(self, which: int) -> int | None:
        ids = [
            t._trial_id
            for t in self.storage.get_all_trials(self.study_id, deepcopy=False)
            if t.state == TrialState.RUNNING
        ]
        return ids[which % len(ids)] if ids else None

    def play(self, action: tuple[Any, ...]) -> None:
        name, *rest = action
        if name in {"param", "report", "user", "system", "back", "tell"}:
            trial_id = self.running(rest[0])
            if trial_id is not None:
                getattr(self, name)(trial_id, *rest[1:])
        else:
            getattr(self, name)(*rest)

    def ask(self) -> None:
        for trial in self.storage.get_all_trials(self.study_id, states=(TrialState.WAITING,)):
            assert self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            return
        self.storage.create_new_trial(self.study_id)

    def enqueue(self, params: dict[str, float], attr: Any) -> None:
        values = {k: DISTRIBUTIONS[k].to_external_repr(v) for k, v in params.items()}
        template = create_trial(
            state=TrialState.WAITING,
            params=values,
            distributions={k: DISTRIBUTIONS[k] for k in params},
            system_attrs={"attr": attr},
        )
        self.storage.create_new_trial(self.study_id, template)

    def param(self, trial_id: int, name: str, internal: float) -> None:
        self.storage.set_trial_param(trial_id, name, internal, DISTRIBUTIONS[name])

    def report(self, trial_id: int, step: int, value: float) -> None:
        self.storage.set_trial_intermediate_value(trial_id, step, value)

    def user(self, trial_id: int, key: str, value: Any) -> None:
        self.storage.set_trial_user_attr(trial_id, key, value)

    def system(self, trial_id: int, key: str, value: Any) -> None:
        self.storage.set_trial_system_attr(trial_id, key, value)

    def study(self, key: str, value: Any) -> None:
        self.storage.set_study_user_attr(self.study_id, key, value)

    def back(self, trial_id: int) -> None:
        assert self.storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def tell(self, trial_id: int, state: str, value: float) -> None:
        values = None if math.isnan(value) or state == "FAIL" else [value]
        state = "FAIL" if values is None else state
        assert self.storage.set_trial_state_values(trial_id, TrialState[state], values)

    def flush(self) -> None:
        self.storage.flush()

    def note(self, key: str, value: Any) -> None:
        """The dashboard's way: an attribute under a key that is not ours."""
        self.plain.set_study_system_attr(self.study_id, f"dashboard:{key}", value)

    def foreign(self, which: int) -> None:
        """A bare Optuna enqueues a trial, or finishes one of ours."""
        trial_id = self.running(which)
        if which % 2 or trial_id is None:
            self.plain.create_new_trial(self.study_id, create_trial(state=TrialState.WAITING))
        else:
            self.plain.set_trial_state_values(trial_id, TrialState.FAIL)
            self.storage.refresh()


@settings(
    max_examples=15,
    deadline=None,
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # each example costs 0.1 s of database: shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(actions=st.lists(ACTIONS, min_size=10, max_size=50))
def test_plain_optuna_reads_what_memory_says(storage: BatchedStorage, url: str, actions: list[tuple[Any, ...]]) -> None:
    with plain_storage(url) as plain:
        history = History(storage, plain)
        for action in actions:
            history.play(action)
        storage.flush()
        storage.refresh()
        study_id = history.study_id
        ours = storage.get_all_trials(study_id)
        assert [t.number for t in ours] == list(range(len(ours)))
        assert_same_trials(ours, plain.get_all_trials(study_id))
        assert _text(storage.get_study_user_attrs(study_id)) == _text(plain.get_study_user_attrs(study_id))
        assert _text(storage.get_study_system_attrs(study_id)) == _text(plain.get_study_system_attrs(study_id))
        with open_storage(url) as anew:
            assert_same_trials(ours, anew.optuna.get_all_trials(study_id))
            assert [s.study_name for s in anew.optuna.get_all_studies()] == [
                s.study_name for s in plain.get_all_studies()
            ]


def _text(attrs: dict[str, Any]) -> dict[str, str]:
    return {key: repr(value) for key, value in attrs.items()}
