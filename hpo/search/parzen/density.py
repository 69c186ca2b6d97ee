"""The log density of a Parzen estimator at a few points, all kernels at once.

Optuna's `_ParzenEstimator` in closed vector form, equal but for rounding: nothing here is drawn from, it only ranks the
points that Optuna's own code drew, and `SLACK` says when that rank may hang on rounding.

Legend: K kernels (one for each of N observations, the prior last), P points, U different kernels, Q different points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.special import log_ndtr, ndtr

SLACK = 1e-6
"""Log densities that differ by less may be in another order than Optuna's; rounding is a thousandth of it."""

Array = NDArray[np.float64]
Numeric = FloatDistribution | IntDistribution

_LOG_ROOT_TWO_PI = 0.5 * float(np.log(2 * np.pi))
_FAR = -9.0  # widths from a bound at which the mass behind it is below rounding


_BLOCK = 1024  # kernels whose densities at all points fit a core's cache

_Added = tuple[Array, NDArray[np.int64], NDArray[np.int64]]
"""Log masses [Q, U], and which of Q each point and which of U each kernel is."""


class Unranked(Exception):
    """These observations or points lie where rounding is not small: Optuna's own code has to rank."""


class Density:
    """The estimator of some observations.

    observed: internal values, oldest first, of all parameters in `space`, each of length N. weights: of N observations.
    """

    def __init__(
        self, observed: Mapping[str, Array], space: Mapping[str, BaseDistribution], weights: Callable[[int], Array]
    ) -> None:
        self._observed = observed
        self._space = space
        self._count = len(next(iter(observed.values())))
        weight_K = np.append(weights(self._count), 1.0) if self._count else np.ones(1)
        self._log_weight_K: Array = np.log(weight_K / weight_K.sum())

    def log_at(self, points: Mapping[str, Array]) -> Array:
        """Log density at each of P points. Raises Unranked."""
        log_K = self._log_weight_K.copy()
        left, right = [], []
        added: list[_Added] = []
        for name, domain in self._space.items():
            if isinstance(domain, CategoricalDistribution):
                added.append(_choices(self._observed[name], points[name], len(domain.choices)))
                continue
            assert isinstance(domain, Numeric)
            kernels = _Kernels(self._observed[name], domain)
            if domain.step is not None:
                added.append(_cells(domain, kernels, points[name]))
                continue
            x_P = kernels.inside(points[name])
            # -(x - m)^2 / 2w^2 written out, so that it is one product of matrices for all parameters; the terms are at
            # most a few thousand, the origin being in the middle
            precision_K = kernels.width_K**-2
            left += [-0.5 * x_P**2, x_P]
            right += [precision_K, kernels.middle_K * precision_K]
            log_K -= 0.5 * kernels.middle_K**2 * precision_K + np.log(kernels.width_K) + _LOG_ROOT_TWO_PI
            log_K -= kernels.log_mass()
        return self._summed(log_K, np.array(left).T, np.array(right), added, len(next(iter(points.values()))))

    def _summed(self, log_K: Array, left: Array, right: Array, added: list[_Added], points: int) -> Array:
        top_P, sum_P = np.full(points, -np.inf), np.zeros(points)
        for start in range(0, self._count + 1, _BLOCK):
            block = slice(start, start + _BLOCK)
            log_PB = left @ right[:, block] if len(right) else np.zeros((points, len(log_K[block])))
            log_PB += log_K[block]
            for table_QU, which_P, which_K in added:
                log_PB += np.take(table_QU[which_P], which_K[block], axis=1)
            new_P = np.maximum(top_P, log_PB.max(axis=1))
            sum_P *= np.exp(top_P - new_P)
            log_PB -= new_P[:, None]
            sum_P += np.exp(log_PB, out=log_PB).sum(axis=1)
            top_P = new_P
        density_P: Array = np.log(sum_P) + top_P
        if not np.all(np.isfinite(density_P)):
            raise Unranked
        return density_P


class _Kernels:
    """Truncated normals around the observations of one parameter, its origin moved to the middle of its domain.

    As wide as the farther neighbour is away, within bounds; the prior as wide as the domain. Raises Unranked.
    """

    def __init__(self, observed_N: Array, domain: Numeric) -> None:
        half = 0.0 if domain.step is None else domain.step / 2
        bounds = np.array([domain.low - half, domain.high + half])
        self._log = domain.log
        low, high = np.log(bounds) if domain.log else bounds
        self._origin = 0.5 * (low + high)
        self.reach = 0.5 * (high - low)
        if domain.log:
            observed_N = np.log(observed_N)
        if not (np.all(observed_N >= low) and np.all(observed_N <= high)):
            raise Unranked
        count = len(observed_N)
        # equal observations get their widths in the order in which NumPy sorts them: this sort on this very array
        self.order = np.argsort(observed_N)
        edges = np.empty(count + 2)
        edges[0], edges[1:-1], edges[-1] = low, observed_N[self.order], high
        gaps = edges[1:] - edges[:-1]
        farther = np.maximum(gaps[:-1], gaps[1:])
        if count >= 2:
            farther[0], farther[-1] = gaps[1], gaps[-2]
        self.width_K = np.empty(count + 1)
        self.width_K[self.order] = np.clip(farther, (high - low) / min(100.0, 2.0 + count), high - low)
        self.width_K[-1] = high - low
        self.middle_K = np.append(observed_N - self._origin, 0.0)

    def placed(self, point_P: Array) -> Array:
        """Points on the scale of the kernels."""
        placed: Array = (np.log(point_P) if self._log else point_P) - self._origin
        return placed

    def inside(self, point_P: Array) -> Array:
        """As `placed`; Unranked at the very bounds, where it hangs on rounding whether a point counts."""
        x_P = self.placed(point_P)
        if np.abs(x_P).max() > self.reach * (1 - 1e-9):
            raise Unranked
        return x_P

    def log_mass(self, which: slice | NDArray[np.int64] = slice(None)) -> Array:
        """Log of each kernel's mass within the bounds, or of `which`."""
        middle, width = self.middle_K[which], self.width_K[which]
        outside = np.zeros(len(middle))
        for bound in ((-self.reach - middle) / width, (middle - self.reach) / width):
            near = bound > _FAR
            outside[near] += ndtr(bound[near])
        mass: Array = np.log1p(-outside)
        return mass


def _choices(observed_N: Array, point_P: Array, choices: int) -> _Added:
    """Kernels: one for each choice that was observed, and the prior."""
    share = 1.0 / (len(observed_N) + 1)
    table = np.full((choices, choices + 1), np.log(share / (1 + choices * share)))
    np.fill_diagonal(table, np.log((1 + share) / (1 + choices * share)))
    table[:, -1] = -np.log(choices)
    return table, point_P.astype(np.int64), np.append(observed_N, choices).astype(np.int64)


def _cells(domain: Numeric, kernels: _Kernels, point_P: Array) -> _Added:
    """A kernel's mass in the cell around each point; once for kernels, and for points, that are the same."""
    assert domain.step is not None
    half = domain.step / 2
    if max(abs(domain.low), abs(domain.high)) / half > 1e8:
        raise Unranked  # cells so small beside the kernels that masses are differences of near equals
    order_K = np.append(kernels.order, len(kernels.order))
    middle, width = kernels.middle_K[order_K], kernels.width_K[order_K]
    first = np.append(True, (middle[1:] != middle[:-1]) | (width[1:] != width[:-1]))
    which_K = np.empty(len(order_K), dtype=np.int64)
    which_K[order_K] = np.cumsum(first) - 1
    middle_U, width_U = middle[first], width[first]
    cell_Q, which_P = np.unique(point_P, return_inverse=True)
    left_QU = (kernels.placed(cell_Q - half)[:, None] - middle_U) / width_U
    right_QU = (kernels.placed(cell_Q + half)[:, None] - middle_U) / width_U
    return _log_mass(left_QU, right_QU) - kernels.log_mass(order_K[first]), which_P, which_K


def _log_mass(a: Array, b: Array) -> Array:
    """Log of the standard normal's mass between a and b, in the tail where it can be told."""
    turned = a > 0
    a, b = np.where(turned, -b, a), np.where(turned, -a, b)
    out: Array = np.empty_like(a)
    tail = b <= 0
    upper, lower = log_ndtr(b[tail]), log_ndtr(a[tail])
    out[tail] = upper + np.log1p(-np.exp(lower - upper))
    out[~tail] = np.log1p(-ndtr(a[~tail]) - ndtr(-b[~tail]))
    return out
