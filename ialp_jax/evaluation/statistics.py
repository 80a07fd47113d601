"""Statistics over seeds with stratified bootstrap intervals (Agarwal et al. 2021, arXiv 2108.13264).

`over_users` and `mean_over_users` compute statistics over the users of an audit. `crossed` covers users and
runs together.

All other intervals cover the spread over random seeds: initial weights, exploration, the order of the users
and their responses, in one fixed world with one fixed set of labels. They do not cover the differences
between worlds, between sets of labels or between groups of users. The intervals of a curve are pointwise: the
probability that they contain the whole true curve is below 95 %. With few seeds, percentile bootstrap
intervals are too narrow: with 3 seeds, an interval is never wider than the range of the 3 values. With one
seed there is no interval: its bounds are NaN.

The estimators and the random draws are the same as in rliable 1.2, so that the intervals are bit-identical.
`scipy.stats.bootstrap` draws all resamples of one world, then those of the next world. rliable draws one
resample of all worlds, then the next resample. So scipy would give other intervals for the same seed, and
every published table would change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.stats

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0  # fixed seed of the bootstrap, so that the same curves always give the same report


class Estimate(NamedTuple):
    """A statistic over seeds and its 95 % interval, as three float64 arrays of the same shape."""

    point: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over seeds: [S, ...] to [...]."""
    return np.mean(scores, axis=0)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean over seeds, [S, ...] to [...]: the mean of the middle half (arXiv 2108.13264, 4.3).

    It drops the lowest quarter and the highest quarter of the seeds, both rounded down. So with fewer than 4
    seeds it is the plain mean.
    """
    return scipy.stats.trim_mean(scores, proportiontocut=0.25, axis=0)


def estimate(scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = mean) -> Estimate:
    """Computes a statistic of each column over seeds, and its percentile bootstrap interval.

    Columns are the strata of the bootstrap: each column is resampled independently.

    Args:
      scores: float [S, ...], one row per seed: metrics of an agent, or points of a curve.
      statistic: ``mean``, ``iqm`` or another function from [S, C] to [C].

    Returns:
      Estimate of shape [...]; the bounds are NaN if S = 1 or the column holds a NaN.
    """
    scores = np.asarray(scores, np.float64)
    columns = _stratified(statistic, scores.reshape(len(scores), -1))
    return Estimate(*(part.reshape(scores.shape[1:]) for part in columns))


def _stratified(statistic: Callable[..., np.ndarray], *tables: np.ndarray) -> Estimate:
    """Computes a statistic [D] of tables [S, C]. Each column of each table is resampled independently."""

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
    """Makes the percentile interval of a statistic [D] from the values of the statistic on the resamples."""
    ends = 100 * np.array([(1 - LEVEL) / 2, 1 - (1 - LEVEL) / 2])
    return Estimate(point, *np.percentile(np.array(resampled, np.float64), ends, axis=0))


def normalised(scores: np.ndarray, floor: float, ceiling: float) -> np.ndarray:
    """Rescales scores so that ``floor`` (the random policy) becomes 0 and ``ceiling`` (the oracle) 1."""
    return (np.asarray(scores, np.float64) - floor) / (ceiling - floor)


def over_worlds(scores: np.ndarray, statistic: str = "iqm") -> Estimate:
    """Computes a statistic of all runs of one agent. The worlds are the strata of the bootstrap.

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
    """Changes the shape of an estimate of one number from [1] to []."""
    return Estimate(*(part.reshape(()) for part in single))


def performance_profile(scores: np.ndarray, levels: np.ndarray) -> Estimate:
    """For each level, the share of all runs with a higher score (arXiv 2108.13264, section 4.2).

    Args:
      scores: float [S, W], normalised.
      levels: float [K].

    Returns:
      Estimate of shape [K].
    """
    return _stratified(lambda table: _share_above(table, levels), np.asarray(scores, np.float64))


def _share_above(table: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """For each of ``levels`` [K], the share of the entries of ``table`` that exceed it."""
    return np.mean(table.reshape(-1, 1) > levels, axis=0)


def compared(statistic: Callable[..., float], *scores: np.ndarray) -> Estimate:
    """Computes a statistic of the runs of several agents in one world, for example the ratio of their means.

    Each resample draws the same seeds for all agents, because runs with the same seed are paired. With the
    same seed, all agents meet the same users with the same random draws. Policies that are adapted from the
    same pre-training also share its parameters.

    Args:
      statistic: function of one array per agent, shaped like ``scores``, with resampled rows.
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


def crossed(statistic: Callable[..., np.ndarray], *returns: np.ndarray) -> Estimate:
    """Computes a statistic of mean returns, with an interval over runs and users.

    A resample draws runs and users, both with replacement and independently of each other (the pigeonhole
    bootstrap of Owen, Annals of Applied Statistics 2007). It draws the same runs and users for all agents,
    because these are paired. The interval is too wide rather than too narrow: the noise of single sessions
    counts in both directions.

    Args:
      statistic: function of one mean per agent, float64 [any], that maps element by element; for example
        their ratio.
      returns: float [R, U] for each agent: mean return of the sessions of user u in run r. A run is a pair of
        a seed and a set of labels.

    Returns:
      Estimate of shape []; the bounds are NaN if R = 1, U = 1 or the statistic is not finite.

    Raises:
      ValueError: the agents have different numbers of runs or users.
    """
    tables = [np.asarray(table, np.float64) for table in returns]
    if len({table.shape for table in tables}) > 1:
        raise ValueError(f"agents have different runs or users: {[table.shape for table in tables]}")
    runs, users = tables[0].shape
    point, unknown = np.asarray(statistic(*(table.mean() for table in tables)), np.float64), np.array(np.nan)
    if min(runs, users) == 1 or not np.isfinite(point):
        return Estimate(point, unknown, unknown)
    generator = np.random.default_rng(SEED)
    of_runs, of_users = (
        generator.multinomial(count, np.full(count, 1 / count), RESAMPLES) / count for count in (runs, users)
    )
    means = [np.sum((of_runs @ table) * of_users, 1) for table in tables]
    return _scalar(_percentiles(point, list(np.asarray(statistic(*means))[:, None])))


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Computes P(X > Y), averaged over worlds; a tie counts 1/2 (arXiv 2108.13264, 4.3; Mann-Whitney U).

    Args:
      x: float [S, W], a metric of one agent: seeds by worlds.
      y: float [S', W], the same metric of another agent; the seeds need not be paired.

    Returns:
      Estimate of shape []; the bounds are NaN if either agent has one seed.
    """

    def statistic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        wins = (1 + np.sign(first[:, None] - second)) / 2  # [S, S', W]: 0, 1/2 or 1; NaN stays NaN
        return np.array([wins.mean(axis=(0, 1)).mean()])

    return _scalar(_stratified(statistic, np.asarray(x, np.float64), np.asarray(y, np.float64)))


def over_users(table: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """Computes a function of column sums over users, and its percentile bootstrap interval over users.

    A resample draws whole rows of users, so differences between columns are paired. A matrix product of the
    table and the number of times that each user was drawn gives the sums of all resamples. This is about
    fifty times faster than ``scipy.stats.bootstrap``, and both give the same intervals within Monte Carlo
    error.

    Args:
      table: float [U, C], finite.
      statistic: function from sums [..., C] to [..., D].

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
    """Computes the mean of each column over the users who have a value there, with intervals by `over_users`.

    Args:
      values: float [U, C]; NaN marks a missing value.

    Returns:
      Estimate of shape [C]; NaN for a column without any value.
    """
    known = np.isfinite(values)
    width = values.shape[1]

    def ratio(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., :width] / sums[..., width:]

    return over_users(np.concatenate([np.where(known, values, 0.0), known], axis=1), ratio)
