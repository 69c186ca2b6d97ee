"""Optuna's TPESampler on a history in arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import default_gamma
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.study import Study
from optuna.trial import FrozenTrial
from typing_extensions import override

from hpo.search.parzen.density import SLACK, Density, Unranked
from hpo.search.parzen.groups import parted
from hpo.search.parzen.history import Array, History, Unlike


class IndexedTPE(TPESampler):
    """Suggests as Optuna's TPESampler of the same arguments and the same random state.

    What is drawn is drawn by Optuna's code from the same good trials; the densities that rank what was drawn are
    computed otherwise, and again by Optuna's code where the best two are so near that rounding could exchange them.
    Studies with several objectives are left to Optuna's code, as are those that arrays cannot hold.
    """

    _history: History | None = None

    def _read(self, study: Study) -> History | None:
        """The history, up to date; None where Optuna's own code has to do."""
        if study._is_multi_objective():
            return None
        if self._history is None or not self._history.feed.is_of(study):
            self._history = History(study)
        try:
            self._history.refresh()
        except Unlike:
            self._history = None
        return self._history

    @override
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together, by groups where `group` is on."""
        history = self._read(study) if self._group else None
        if history is None:
            return super().infer_relative_search_space(study, trial)
        group = _SearchSpaceGroup()
        group._search_spaces = parted(history.first_of_each_kind())
        self._search_space_group = group
        return {
            name: domain for part in group.search_spaces for name, domain in sorted(part.items()) if not domain.single()
        }

    @override
    def _sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        history = self._read(study) if search_space else None
        if history is None:
            return super()._sample_relative(study, trial, search_space)
        return {} if len(history) < self._n_startup_trials else self._sample(study, trial, search_space)

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One parameter that was not drawn with others."""
        history = self._read(study)
        if history is None:
            return super().sample_independent(study, trial, param_name, param_distribution)
        if len(history) < self._n_startup_trials:
            return self._random_sampler.sample_independent(study, trial, param_name, param_distribution)
        return self._sample(study, trial, {param_name: param_distribution})[param_name]

    @override
    def _sample(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        history = self._read(study)
        if history is None:
            return super()._sample(study, trial, search_space)
        good = history.best(default_gamma(len(history)))
        running = (
            history.running(trial.number, search_space, self._is_multivariate(study)) if self._constant_liar else []
        )
        below = history.observed(good, search_space)
        above = history.observed(history.others(good, running), search_space)
        estimator = _ParzenEstimator(below, search_space, self._parzen_estimator_parameters)
        drawn = estimator.sample(self._rng.rng, self._n_ei_candidates)
        place = self._place(drawn, below, above, search_space)
        if place is None:
            bad = _ParzenEstimator(above, search_space, self._parzen_estimator_parameters)
            place = int(np.argmax(self._compute_acquisition_func(drawn, estimator, bad)))
        return {name: domain.to_external_repr(drawn[name][place].item()) for name, domain in search_space.items()}

    def _place(
        self,
        drawn: Mapping[str, Array],
        below: Mapping[str, Array],
        above: Mapping[str, Array],
        space: Mapping[str, BaseDistribution],
    ) -> int | None:
        """Which of the drawn points has the best ratio of densities; None where that hangs on rounding."""
        _, places = np.unique(np.array([drawn[name] for name in space]), axis=1, return_index=True)
        points = {name: values[places] for name, values in drawn.items()}
        weights = self._parzen_estimator_parameters.weights
        try:
            gain = Density(below, space, weights).log_at(points) - Density(above, space, weights).log_at(points)
        except Unranked:
            return None
        best = int(np.argmax(gain))
        if np.count_nonzero(gain > gain[best] - SLACK) > 1:
            return None
        return int(places[best])
