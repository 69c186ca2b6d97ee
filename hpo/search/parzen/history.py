"""What TPE reads of a study, in arrays: a row for each trial, at its number, and who is best in order."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.search.feed import Feed
from hpo.search.pruning.ordered import Ordered

Array = NDArray[np.float64]

_LEARNED = (TrialState.COMPLETE, TrialState.PRUNED)
_RELATIVE = "tpe:relative_params"  # Optuna's: what was drawn for a trial before its parameters are written


class Unlike(Exception):
    """The study holds what arrays cannot: one name for two kinds of choices."""


@dataclass
class _Column:
    """The internal values of one parameter by trial number; NaN where a trial has not got it."""

    domain: BaseDistribution
    values: Array = field(default_factory=lambda: np.full(64, np.nan))

    def put(self, number: int, value: Any) -> None:
        if number >= len(self.values):
            grown = np.full(max(2 * len(self.values), number + 1), np.nan)
            grown[: len(self.values)] = self.values
            self.values = grown
        self.values[number] = self.domain.to_internal_repr(value)


class History:
    """The trials of a study with one objective that a model may learn from, kept up to date by `refresh`.

    COMPLETE and PRUNED trials are learned from; RUNNING ones are counted as bad where the caller wants that.
    """

    def __init__(self, study: Study) -> None:
        self.feed = Feed(study)
        self._storage = study._storage
        self._sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        self._clear()

    def _clear(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._ended: dict[int, FrozenTrial] = {}
        self._learned = np.zeros(64, dtype=bool)
        self._running: dict[int, int] = {}
        self._drawn: dict[int, tuple[object, ...]] = {}
        self._groups: dict[frozenset[str], FrozenTrial] = {}
        self._best: tuple[Ordered[tuple[float, ...]], ...] = (Ordered(), Ordered(), Ordered())

    def __len__(self) -> int:
        """How many trials there are to learn from."""
        return sum(len(part) for part in self._best)

    # ------------------------------------------------------------ keeping up

    def refresh(self) -> None:
        """See what changed in the study. Raises Unlike."""
        for trial in self.feed.news():
            if trial.number in self._ended:
                if self._ended[trial.number].state != trial.state or self._ended[trial.number].values != trial.values:
                    self._start_over(trial)
                continue
            if trial.state.is_finished():
                self._end(trial)
            elif trial.state == TrialState.RUNNING:
                self._running[trial.number] = trial._trial_id
            else:
                self._forget(trial.number)

    def _start_over(self, changed: FrozenTrial) -> None:
        """A trial that we had ended was ended otherwise by somebody else before: rare, and not worth less."""
        ended = {**self._ended, changed.number: changed}
        running = self._running
        self._clear()
        self._running = running
        for trial in ended.values():
            self._end(trial)

    def _end(self, trial: FrozenTrial) -> None:
        self._forget(trial.number)
        self._ended[trial.number] = trial
        if trial.state not in _LEARNED:
            return
        self._write(trial.number, trial.params, trial.distributions)
        if trial.number >= len(self._learned):
            self._learned = np.append(self._learned, np.zeros(trial.number + 1, dtype=bool))
        self._learned[trial.number] = True
        names = frozenset(trial.distributions)
        known = self._groups.get(names)
        if known is None or trial.number < known.number:
            self._groups[names] = trial
        part, score = self._score(trial)
        self._best[part].add((*score, trial.number))

    def _forget(self, number: int) -> None:
        """A trial that is not RUNNING any more."""
        if self._running.pop(number, None) is not None and self._drawn.pop(number, None) is not None:
            for column in self._columns.values():
                if number < len(column.values):
                    column.values[number] = np.nan

    def _write(self, number: int, params: dict[str, Any], domains: dict[str, BaseDistribution]) -> None:
        for name, value in params.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = _Column(domains[name])
            if isinstance(column.domain, CategoricalDistribution) and column.domain != domains[name]:
                raise Unlike(name)
            column.put(number, value)

    def _score(self, trial: FrozenTrial) -> tuple[int, tuple[float, ...]]:
        """Where a trial stands among which: the feasible COMPLETE, the PRUNED, the infeasible; least is best."""
        broken = sum(value for value in trial.constraints.values() if value > 0)
        if broken > 0:
            return 2, (broken,)
        if trial.state == TrialState.COMPLETE:
            assert trial.values is not None
            return 0, (self._sign * trial.values[0],)
        if trial.last_step is None:
            return 1, (1.0, 0.0)
        value = trial.intermediate_values[trial.last_step]
        return 1, (-trial.last_step, math.inf if math.isnan(value) else self._sign * value)

    # --------------------------------------------------------------- reading

    def first_of_each_kind(self) -> list[dict[str, BaseDistribution]]:
        """The distributions of the lowest-numbered trial of each set of parameters, by number."""
        return [trial.distributions for trial in sorted(self._groups.values(), key=lambda trial: trial.number)]

    def best(self, count: int) -> list[int]:
        """Numbers of the `count` best trials, ascending: COMPLETE before PRUNED before infeasible."""
        chosen: list[int] = []
        for part in self._best:
            chosen += [int(entry[-1]) for entry in part.values[: count - len(chosen)]]
        return sorted(chosen)

    def running(self, but: int, space: dict[str, BaseDistribution], drawn: bool) -> list[int]:
        """Numbers of the RUNNING trials without `but`, their parameters written as far as they are known.

        drawn: whether those that were drawn for a trial and not yet asked for count as its parameters.
        """
        numbers = [number for number in sorted(self._running) if number != but]
        for number in numbers:
            trial = self._storage.get_trial(self._running[number])
            self._write_running(trial, space, _drawn_texts(trial) if drawn else ())
        return numbers

    def _write_running(self, trial: FrozenTrial, space: dict[str, BaseDistribution], texts: Sequence[str]) -> None:
        # parameters of a RUNNING trial are only ever added, and what was drawn is written once
        mark = (*texts, len(trial.params))
        if self._drawn.get(trial.number) == mark:
            return
        params: dict[str, Any] = {}
        if texts:
            try:
                params = json.loads("".join(texts))
            except json.JSONDecodeError:  # half written by somebody else
                params = {}
        params.update(trial.params)
        domains = {name: column.domain for name, column in self._columns.items()} | space | trial.distributions
        self._write(trial.number, {name: value for name, value in params.items() if name in domains}, domains)
        self._drawn[trial.number] = mark

    def observed(self, numbers: Collection[int] | NDArray[np.int64], names: Collection[str]) -> dict[str, Array]:
        """Internal values of the trials, in the order of `numbers`, that have all of these parameters."""
        chosen = np.asarray(numbers, dtype=np.int64)
        taken = {name: self._taken(name, chosen) for name in names}
        there = ~np.isnan(np.array(list(taken.values()))).any(axis=0) if taken else np.ones(len(chosen), dtype=bool)
        return {name: values[there] for name, values in taken.items()}

    def _taken(self, name: str, numbers: NDArray[np.int64]) -> Array:
        column = self._columns.get(name)
        if column is None:
            return np.full(len(numbers), np.nan)
        out = np.full(len(numbers), np.nan)
        within = numbers < len(column.values)
        out[within] = column.values[numbers[within]]
        return out

    def others(self, below: Sequence[int], running: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of all trials to learn from and of `running`, ascending, without `below`."""
        mask = self._learned.copy()
        mask[list(below)] = False
        numbers = np.nonzero(mask)[0]
        return np.sort(np.append(numbers, np.array(running, dtype=np.int64))) if running else numbers


def _drawn_texts(trial: FrozenTrial) -> tuple[str, ...]:
    texts: list[str] = []
    while text := trial.system_attrs.get(f"{_RELATIVE}:{len(texts)}"):
        texts.append(text)
    return tuple(texts)
