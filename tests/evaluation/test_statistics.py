"""Estimates over seeds and their bootstrap intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from ialp_jax.evaluation import statistics

RLIABLE = json.loads(Path(__file__).with_name("rliable_outputs.json").read_text())
OPTIONS = {
    "mean": statistics.mean,
    "iqm": statistics.iqm,
    "difference": lambda x, y: x.mean() - y.mean(),
    "ratio": lambda x, *others: x.mean() / max(other.mean() for other in others),
}


@pytest.mark.parametrize("case", RLIABLE["cases"], ids=lambda case: f"{case['function']} {case['statistic']}")
def test_same_as_rliable(case):
    """rliable_outputs.json holds outputs of rliable 1.2 with arch 7.2, for the same seed and resamples."""
    assert (statistics.SEED, statistics.RESAMPLES, statistics.LEVEL) == (0, 2000, 0.95)
    inputs = [np.array(values) for values in case["inputs"]]
    function = getattr(statistics, case["function"])
    if case["function"] == "compared":
        estimate = function(OPTIONS[case["statistic"]], *inputs)
    elif case["function"] == "estimate":
        estimate = function(*inputs, OPTIONS[case["statistic"]])
    elif case["function"] == "over_worlds":
        estimate = function(*inputs, case["statistic"])
    else:
        estimate = function(*inputs)
    for part in ("point", "low", "high"):
        np.testing.assert_allclose(getattr(estimate, part), case[part], rtol=1e-12)


def test_mean_and_iqm_by_hand():
    scores = np.array([[0.0], [1.0], [2.0], [3.0], [3.0], [4.0], [5.0], [100.0]])
    assert statistics.mean(scores) == pytest.approx(14.75)
    assert statistics.iqm(scores) == pytest.approx((2 + 3 + 3 + 4) / 4)
    assert statistics.iqm(scores[:3]) == pytest.approx(1.0)  # three scores are too few to trim any


def test_interval_agrees_with_the_normal_approximation():
    scores = np.random.default_rng(0).normal(5, 2, (400, 3))
    mean, low, high = statistics.estimate(scores)
    assert mean.shape == low.shape == high.shape == (3,)
    half = 1.96 * scores.std(axis=0) / 20
    np.testing.assert_allclose(low, mean - half, atol=0.2 * half.max())
    np.testing.assert_allclose(high, mean + half, atol=0.2 * half.max())


def test_interval_of_three_seeds_is_their_range():
    mean, low, high = statistics.estimate(np.array([1.0, 2.0, 6.0]))
    assert (mean, low, high) == (3.0, 1.0, 6.0)


def test_the_given_statistic_is_used():
    scores = np.append(np.arange(11.0), 1000.0)
    assert statistics.estimate(scores, statistics.iqm).high < 15 < statistics.estimate(scores).high


def test_one_seed_has_no_interval():
    mean, low, high = statistics.estimate(np.array([[2.0, 3.0]]))
    np.testing.assert_array_equal(mean, [2.0, 3.0])
    assert np.isnan([low, high]).all()
    assert np.isnan(statistics.probability_of_improvement(np.ones((1, 1)), np.ones((4, 1))).low)


def test_intervals_repeat_and_leave_numpys_global_generator_alone():
    scores = np.random.default_rng(1).normal(size=(20, 4, 3))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = statistics.estimate(scores)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.random.random(1001)  # noqa: NPY002
    for one, other in zip(first, statistics.estimate(scores), strict=True):
        assert one.shape == (4, 3)
        np.testing.assert_array_equal(one, other)


def test_columns_do_not_mix():
    scores = np.stack([np.arange(6.0), 1000 + np.arange(6.0), np.full(6, np.nan)], axis=1)
    mean, low, high = statistics.estimate(scores)
    assert low[0] < mean[0] < high[0] < 6 < 1000 < low[1] < high[1]
    assert np.isnan([mean[2], low[2], high[2]]).all()


def test_probability_of_improvement():
    low_scores, high_scores = np.arange(4.0)[:, None], np.arange(10.0, 15.0)[:, None]
    assert statistics.probability_of_improvement(high_scores, low_scores) == (1.0, 1.0, 1.0)
    assert statistics.probability_of_improvement(low_scores, high_scores).point == 0.0
    # against (2, 4), the scores 1, 3, 5 win 0 + 1 + 2 of 6 pairs
    x, y = np.array([[1.0], [3.0], [5.0]]), np.array([[2.0], [4.0]])
    point, low, high = statistics.probability_of_improvement(x, y)
    assert point == pytest.approx(0.5)
    assert low < 0.5 < high
    # mean over two worlds: 1 for a win and 0.5 for a tie
    x = np.array([[9.0, 1.0], [8.0, 1.0]])
    assert statistics.probability_of_improvement(x, np.ones((2, 2))).point == pytest.approx(0.75)


def test_means_over_users_agree_with_scipys_bootstrap():
    values = np.random.default_rng(0).exponential(size=(200, 2))
    estimate = statistics.mean_over_users(values)
    np.testing.assert_allclose(estimate.point, values.mean(0))
    expected = scipy.stats.bootstrap(
        (values,), np.mean, axis=0, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(estimate.low, expected.low, atol=0.02)
    np.testing.assert_allclose(estimate.high, expected.high, atol=0.02)


def test_columns_over_users_are_resampled_together_without_missing_values():
    generator = np.random.default_rng(0)
    user = generator.normal(size=300)
    values = np.stack(
        [user, user + 1.0, np.where(np.arange(300) < 100, 2.0, np.nan), np.full(300, np.nan)], 1
    )

    def gap(sums):
        return sums[..., 1:2] - sums[..., :1]

    paired = statistics.over_users(values[:, :2], gap)
    np.testing.assert_allclose([paired.low, paired.high], 300.0)  # the spread between users cancels
    estimate = statistics.mean_over_users(values)
    assert (estimate.point[2], estimate.low[2], estimate.high[2]) == (2.0, 2.0, 2.0)
    assert np.isnan([part[3] for part in estimate]).all()
    one_user = statistics.mean_over_users(values[:1])
    assert one_user.point[0] == user[0]
    assert np.isnan(one_user.low).all()


def test_normalised_scores_have_random_at_0_and_the_oracle_at_1():
    np.testing.assert_allclose(statistics.normalised([2.0, 7.0, 12.0, 14.5], 2.0, 12.0), [0, 0.5, 1, 1.25])


def test_over_worlds_by_hand():
    """The middle half of the eight scores 0, 1, 2, 3, 4, 5, 6, 100 is 2, 3, 4, 5."""
    scores = np.array([[0.0, 4.0], [100.0, 1.0], [2.0, 6.0], [5.0, 3.0]])
    point, low, high = statistics.over_worlds(scores)
    assert point == pytest.approx(3.5)
    assert low < point < high
    assert statistics.over_worlds(scores, "mean").point == pytest.approx(121 / 8)
    # Worlds are the strata of the bootstrap. If runs differ only between worlds, all resamples are equal.
    assert statistics.over_worlds(np.tile([[1.0, 9.0]], (4, 1))) == (5.0, 5.0, 5.0)
    assert np.isnan(statistics.over_worlds(np.ones((1, 3))).low)


def test_performance_profile_by_hand():
    scores = np.array([[0.1, 0.5], [0.3, 0.9]])
    point, low, high = statistics.performance_profile(scores, np.array([0.0, 0.1, 0.4, 0.9]))
    np.testing.assert_allclose(point, [1, 0.75, 0.5, 0])  # above, not at
    assert (low <= point).all()
    assert (point <= high).all()
    assert low[1] == 0.5  # a resample may draw 0.1 for both runs of the first world


def test_compared_resamples_seeds_together():
    """If the ratio of two agents is the same in all seeds, the interval of the ratio has width 0."""
    runs = np.array([1.0, 2.0, 6.0, 9.0])
    point, low, high = statistics.compared(lambda x, y: x.mean() / y.mean(), 3 * runs, runs)
    np.testing.assert_allclose([point, low, high], 3)
    other = statistics.compared(lambda x, y: x.mean() / y.mean(), runs, runs[::-1])
    assert other.point == pytest.approx(1)
    assert other.low < 0.8
    assert other.high > 1.2


def test_compared_agrees_with_the_normal_approximation_and_repeats():
    x, y = np.random.default_rng(3).normal([5.0, 3.0], 1, (400, 2)).T
    point, low, high = statistics.compared(lambda a, b: a.mean() - b.mean(), x, y)
    half = 1.96 * (x - y).std() / 20
    np.testing.assert_allclose([low, high], [point - half, point + half], atol=0.2 * half)
    assert statistics.compared(lambda a, b: a.mean() - b.mean(), x, y) == (point, low, high)


def test_comparisons_without_an_interval_or_refused():
    assert np.isnan(statistics.compared(lambda x: x.mean(), np.ones(1)).low)
    assert np.isnan(statistics.compared(lambda x: np.nan, np.ones(4)).high)
    with pytest.raises(ValueError, match="different numbers of seeds"):
        statistics.compared(lambda x, y: 0.0, np.ones(3), np.ones(4))


def test_crossed_covers_runs_and_users():
    draw = np.random.default_rng(0)
    runs, users = 20, 400
    by_run, by_user = draw.normal(0, 0.5, (runs, 1)), draw.normal(0, 2.0, users)
    table = 10 + by_run + by_user + draw.normal(0, 0.1, (runs, users))
    both = statistics.crossed(lambda mean: mean, table)
    assert both.point == pytest.approx(table.mean())
    spread = np.sqrt(by_run.var() / runs + by_user.var() / users)
    assert (both.high - both.low) / (2 * 1.96) == pytest.approx(spread, rel=0.1)
    assert statistics.crossed(lambda mean: mean, table) == both  # the same draws again


def test_crossed_pairs_runs_and_users_of_the_agents():
    table = 5 + np.random.default_rng(0).normal(size=(8, 50))
    ratio = statistics.crossed(lambda x, y: x / y, 1.2 * table, table)
    np.testing.assert_allclose(ratio, 1.2)
    np.testing.assert_array_equal(statistics.crossed(lambda x: x, table[:1])[1:], np.nan)
    np.testing.assert_array_equal(statistics.crossed(lambda x: x, table[:, :1])[1:], np.nan)
    with pytest.raises(ValueError, match="different runs or users"):
        statistics.crossed(lambda x, y: x / y, table, table[:4])
