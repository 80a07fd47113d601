"""Statistics over seeds with stratified bootstrap intervals (Agarwal et al. 2021, arXiv 2108.13264).

`over_users` and `mean_over_users`, at the end, are statistics over the users of an audit.

An interval covers the spread over random seeds: initial weights, exploration, the order of the users and
their responses, in one fixed world with one fixed set of labels. It does not cover other worlds, other labels
or other users. Each interval holds for one point: a whole curve leaves its band more often than 5 % of the
time. The percentile bootstrap is too narrow for few seeds; with 3 seeds it is at most their range. One seed
gives no interval: its bounds are NaN.

The estimators and the random draws equal those of rliable 1.2, so that intervals have the same bits.
`scipy.stats.bootstrap` draws all resamples of one world, then those of the next world. rliable draws one
resample of all worlds, then the next resample. So scipy would give other intervals for the same seed, and
change every published table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.stats

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

    It leaves out a quarter of the seeds, rounded down, at each end. Fewer than 4 seeds give the plain mean.
    """
    return scipy.stats.trim_mean(scores, proportiontocut=0.25, axis=0)


def estimate(scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = mean) -> Estimate:
    """Applies a statistic to each column over seeds, with its percentile bootstrap interval.

    Columns are strata: each is resampled independently.

    Args:
      scores: float [S, ...], one row per seed: metrics of an agent, or points of a curve.
      statistic: ``mean`` or ``iqm``, or another function from [S, C] to [C].

    Returns:
      Estimate of shape [...]; the bounds are NaN if S = 1 or the column holds a NaN.
    """
    scores = np.asarray(scores, np.float64)
    columns = _stratified(statistic, scores.reshape(len(scores), -1))
    return Estimate(*(part.reshape(scores.shape[1:]) for part in columns))


def _stratified(statistic: Callable[..., np.ndarray], *tables: np.ndarray) -> Estimate:
    """A statistic [D] of tables [S, C]; each column of each table is resampled independently."""

    def resample(generator: np.random.RandomState) -> Iterator[np.ndarray]:
        for table in tables:
            rows = generator.choice(len(table), table.shape, replace=True)
            yield np.take_along_axis(table, rows, axis=0)

    point = statistic(*tables)
    if min(map(len, tables)) == 1:
        return Estimate(point, np.full_like(point, np.nan), np.full_like(point, np.nan))
    generator = np.random.RandomState(SEED)  # numpy's older generator, as in rliable
    return _percentiles(point, [statistic(*resample(generator)) for _ in range(RESAMPLES)])


def _percentiles(point: np.ndarray, resampled: list[np.ndarray]) -> Estimate:
    """The percentile interval of a statistic [D] from its values on the resamples."""
    ends = 100 * np.array([(1 - LEVEL) / 2, 1 - (1 - LEVEL) / 2])
    return Estimate(point, *np.percentile(np.array(resampled, np.float64), ends, axis=0))


def normalised(scores: np.ndarray, floor: float, ceiling: float) -> np.ndarray:
    """Rescales scores so that ``floor`` (the random policy) becomes 0 and ``ceiling`` (the oracle) 1."""
    return (np.asarray(scores, np.float64) - floor) / (ceiling - floor)


def over_worlds(scores: np.ndarray, statistic: str = "iqm") -> Estimate:
    """A statistic of all runs of one agent in all worlds; the worlds are the strata of the bootstrap.

    Args:
      scores: float [S, W], normalised.
      statistic: ``mean``, or ``iqm``, the mean of the middle half of all S * W runs (arXiv 2108.13264, 4.3).

    Returns:
      Estimate of shape []; the bounds are NaN if S = 1.
    """
    pooled = {"mean": mean, "iqm": iqm}[statistic]
    runs = np.asarray(scores, np.float64)
    return _scalar(_stratified(lambda table: np.array([pooled(table.ravel())]), runs))


def _scalar(single: Estimate) -> Estimate:
    """An estimate of one number with shape [] instead of [1]."""
    return Estimate(*(part.reshape(()) for part in single))


def performance_profile(scores: np.ndarray, levels: np.ndarray) -> Estimate:
    """Share of all runs in all worlds whose score exceeds each level (arXiv 2108.13264, section 4.2).

    Args:
      scores: float [S, W], normalised.
      levels: float [K].

    Returns:
      Estimate of shape [K].
    """
    return _stratified(lambda table: _share_above(table, levels), np.asarray(scores, np.float64))


def _share_above(table: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of the entries of ``table`` that exceed each of ``levels`` [K]."""
    return np.mean(table.reshape(-1, 1) > levels, axis=0)


def compared(statistic: Callable[..., float], *scores: np.ndarray) -> Estimate:
    """A number computed from the runs of several agents in one world, for example the ratio of their means.

    Seeds are resampled for all agents together, because runs of one seed belong together: seed s of every
    agent has the same users and answers, and policies adapted from one pre-training share its parameters.

    Args:
      statistic: function of arrays like ``scores``, but with resampled rows.
      scores: float [S, ...] for each agent, with the same S.

    Returns:
      Estimate of shape []; the bounds are NaN if S = 1 or the statistic is not finite.

    Raises:
      ValueError: the agents have different numbers of seeds.
    """
    runs = [np.asarray(score, np.float64) for score in scores]
    num_seeds = len(runs[0])
    if any(len(rows) != num_seeds for rows in runs):
        raise ValueError(f"agents have different numbers of seeds: {[len(rows) for rows in runs]}")
    point, unknown = np.asarray(statistic(*runs), np.float64), np.array(np.nan)
    if num_seeds == 1 or not np.isfinite(point):
        return Estimate(point, unknown, unknown)
    generator = np.random.default_rng(SEED)
    drawn = (generator.integers(num_seeds, size=num_seeds) for _ in range(RESAMPLES))
    resampled = [np.array([statistic(*(rows[seeds] for rows in runs))]) for seeds in drawn]
    return _scalar(_percentiles(point, resampled))


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> Estimate:
    """P(X > Y), averaged over worlds, where a tie counts half (arXiv 2108.13264, 4.3; Mann-Whitney U).

    Args:
      x: float [S, W], a metric of one agent: seeds by worlds.
      y: float [S', W], the same metric of the other; the seeds need not be paired.

    Returns:
      Estimate of shape []; the bounds are NaN if either agent has one seed.
    """

    def statistic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        wins = (1 + np.sign(first[:, None] - second)) / 2  # [S, S', W]: 0, 1/2 or 1; NaN stays NaN
        return np.array([wins.mean(axis=(0, 1)).mean()])

    return _scalar(_stratified(statistic, np.asarray(x, np.float64), np.asarray(y, np.float64)))


def over_users(table: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """A function of sums over users, with its percentile bootstrap interval over users.

    Users are drawn with all their columns, so differences between columns are paired. To get the sums of a
    resample, it multiplies the draw counts of the users by the table. This is about fifty times faster than
    ``scipy.stats.bootstrap``; the intervals agree within Monte Carlo error.

    Args:
      table: float [U, C], finite.
      statistic: from sums [..., C] to [..., D].

    Returns:
      Estimate of shape [D]; the bounds are NaN if U = 1 or the statistic is NaN.
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
    """Mean of each column over the users with a value in that column, by `over_users`.

    Args:
      values: float [U, C]; NaN if a user has no such value.

    Returns:
      Estimate of shape [C]; NaN for a column without any value.
    """
    known = np.isfinite(values)
    width = values.shape[1]

    def ratio(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., :width] / sums[..., width:]

    return over_users(np.concatenate([np.where(known, values, 0.0), known], axis=1), ratio)
