"""Means over seeds, with intervals: stratified bootstrap by rliable (Agarwal et al. 2021, arXiv 2108.13264).

`over_users` and `mean_over_users`, at the end, are over the users of an audit instead.

What an interval covers: the spread over random seeds, that is over initial weights, exploration, the order
of the users and the users' responses, in one fixed world with one fixed set of labels. It says nothing of
other worlds, other labels or other users. Intervals are pointwise: a whole curve leaves its band more often
than 5 % of the time. The percentile bootstrap is too narrow for few seeds; with 3 seeds it is no more than
their range. From one seed no spread can be learnt, and the interval is NaN.

rliable 1.2 needs ``arch<8``, and arch 7 needs ``pandas<3``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.stats
from arch.bootstrap import IIDBootstrap
from rliable import library, metrics

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0  # of the bootstrap: the same curves always give the same report


class Estimate(NamedTuple):
    """A statistic over seeds and its 95 % interval; three float64 arrays of one shape."""

    point: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over seeds: [S, ...] to [...]."""
    return np.mean(scores, axis=0)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean over seeds, [S, ...] to [...]: the mean of the middle half (arXiv 2108.13264, 4.3).

    A quarter of the seeds, rounded down, is left out at each end: fewer than 4 seeds give the plain mean.
    """
    return scipy.stats.trim_mean(scores, proportiontocut=0.25, axis=0)


@contextlib.contextmanager
def _fixed_numpy_seed() -> Iterator[None]:
    """Seeds numpy's global generator, from which rliable draws whatever ``random_state`` it is given."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(SEED)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def estimate(scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = mean) -> Estimate:
    """Apply a statistic to each column over seeds, with its percentile bootstrap interval.

    Columns are strata: each is resampled by itself, so every interval stands for its own column alone.

    Args:
      scores: float [S, ...], one row per seed: metrics of an agent, or points of a curve.
      statistic: ``mean`` or ``iqm``, or another function from [S, C] to [C].

    Returns:
      Estimate of shape [...]; the bounds are NaN where S = 1 or the column holds a NaN.
    """
    scores = np.asarray(scores, np.float64)
    table = scores.reshape(len(scores), -1)
    found = _stratified(table, statistic)
    return Estimate(*(part.reshape(scores.shape[1:]) for part in found))


def _stratified(table: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """A statistic [K] of a table [S, C], whose columns are strata, with its percentile interval."""
    point = statistic(table)
    if len(table) == 1:
        return Estimate(point, np.full_like(point, np.nan), np.full_like(point, np.nan))
    with _fixed_numpy_seed():
        bootstrap = library.StratifiedBootstrap(table)
        low, high = bootstrap.conf_int(statistic, reps=RESAMPLES, size=LEVEL, method="percentile")
    return Estimate(point, low, high)


def normalised(scores: np.ndarray, floor: float, ceiling: float) -> np.ndarray:
    """Scores on the scale on which the random policy has 0 and the oracle 1, of the same shape."""
    return (np.asarray(scores, np.float64) - floor) / (ceiling - floor)


def over_worlds(scores: np.ndarray, statistic: str = "iqm") -> Estimate:
    """A statistic of all runs of one agent in all worlds, the worlds being the strata of the bootstrap.

    Args:
      scores: float [S, W], normalised.
      statistic: ``mean``, or ``iqm``, the mean of the middle half of all S * W runs (arXiv 2108.13264, 4.3).

    Returns:
      Estimate of shape []; the bounds are NaN where S = 1.
    """
    pooled = {"mean": np.mean, "iqm": metrics.aggregate_iqm}[statistic]
    found = _stratified(np.asarray(scores, np.float64), lambda table: np.array([pooled(table)]))
    return Estimate(*(part.reshape(()) for part in found))


def performance_profile(scores: np.ndarray, levels: np.ndarray) -> Estimate:
    """Share of all runs in all worlds whose score exceeds each level (arXiv 2108.13264, section 4.2).

    Args:
      scores: float [S, W], normalised.
      levels: float [K].

    Returns:
      Estimate of shape [K].
    """
    # rliable's score_distributions, which asks one level after the other.
    return _stratified(np.asarray(scores, np.float64), lambda table: _share_above(table, levels))


def _share_above(table: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of the entries of ``table`` that exceed each of ``levels`` [K]."""
    return np.mean(table.reshape(-1, 1) > levels, axis=0)


def compared(statistic: Callable[..., float], *scores: np.ndarray) -> Estimate:
    """A number computed from several agents' runs in one world, as the ratio of their means.

    Seeds are resampled for all agents together: seed s of every agent has the same users and answers, and
    policies adapted from the same pre-training share its parameters, so that runs of a seed belong together.

    Args:
      statistic: of arrays like ``scores`` with resampled rows.
      scores: of each agent float [S, ...], the same S.

    Returns:
      Estimate of shape []; the bounds are NaN where S = 1 or the statistic is not finite.

    Raises:
      ValueError: the agents have different numbers of seeds.
    """
    rows = [np.asarray(score, np.float64) for score in scores]
    if len({len(part) for part in rows}) != 1:
        raise ValueError(f"agents have different numbers of seeds: {[len(part) for part in rows]}")
    point, unknown = np.asarray(statistic(*rows), np.float64), np.array(np.nan)
    if len(rows[0]) == 1 or not np.isfinite(point):
        return Estimate(point, unknown, unknown)
    bootstrap = IIDBootstrap(*rows, seed=np.random.default_rng(SEED))
    low, high = bootstrap.conf_int(
        lambda *parts: np.array([statistic(*parts)]), reps=RESAMPLES, size=LEVEL, method="percentile"
    )
    return Estimate(point, low[0], high[0])


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> Estimate:
    """P(X > Y), ties counted half, averaged over worlds (arXiv 2108.13264, 4.3; Mann-Whitney U).

    Args:
      x: float [S, W], a metric of one agent: seeds by worlds.
      y: float [S', W], the same metric of the other; the seeds need not be paired.

    Returns:
      Estimate of shape []; the bounds are NaN where either agent has one seed.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def statistic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.array([metrics.probability_of_improvement(first, second)])

    point = statistic(x, y)
    if min(len(x), len(y)) == 1:
        low = high = np.full(1, np.nan)
    else:
        with _fixed_numpy_seed():
            bootstrap = library.StratifiedIndependentBootstrap(x, y)
            low, high = bootstrap.conf_int(statistic, reps=RESAMPLES, size=LEVEL, method="percentile")
    return Estimate(point.reshape(()), low.reshape(()), high.reshape(()))


def over_users(table: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """A function of sums over users, with its percentile bootstrap interval over users.

    Users are drawn whole: all columns of a resample are of the same users, so differences are paired. The
    sums of a resample are a product of how often each user was drawn with the table, which makes this
    some fifty times faster than ``scipy.stats.bootstrap``, with the same result.

    Args:
      table: float [U, C], finite.
      statistic: from sums [..., C] to [..., D].

    Returns:
      Estimate of shape [D]; the bounds are NaN where U = 1 or the statistic is NaN.
    """
    table, count = np.asarray(table, np.float64), len(table)
    point = statistic(table.sum(axis=0))
    generator = np.random.default_rng(SEED)
    block = max(1, min(RESAMPLES, 4_000_000 // count))
    sums = [
        generator.multinomial(count, np.full(count, 1 / count), min(block, RESAMPLES - first)) @ table
        for first in range(0, RESAMPLES, block)
    ]
    resampled = statistic(np.concatenate(sums))
    known = np.isfinite(resampled).any(axis=0) & np.isfinite(point) & (count > 1)
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.where(known, np.nanquantile(np.where(known, resampled, 0.0), ends, axis=0), np.nan)
    return Estimate(point, low, high)


def mean_over_users(values: np.ndarray) -> Estimate:
    """Means of columns over the users for whom they are known, by `over_users`.

    Args:
      values: float [U, C]; NaN where a user has no such value.

    Returns:
      Estimate of shape [C]; NaN for a column without any value.
    """
    known = np.isfinite(values)
    width = values.shape[1]

    def ratio(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., :width] / sums[..., width:]

    return over_users(np.concatenate([np.where(known, values, 0.0), known], axis=1), ratio)
