"""Metrics of learning curves, compared with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ialp_jax.evaluation.metrics import (
    CURVES,
    METRICS,
    auc_return,
    curve_metrics,
    late_gain,
    regain_steps,
    worst_drop,
)


def curves(returns: np.ndarray) -> dict[str, np.ndarray]:
    returns = np.asarray(returns, float)
    return {name: returns + i for i, name in enumerate(CURVES)}


def test_all_metrics_by_hand():
    steps = np.array([0, 1000, 3000])
    result = curve_metrics(steps, curves([[4.0, 1.0, 7.0], [2.0, 2.0, 5.0]]))
    assert tuple(result) == METRICS
    np.testing.assert_allclose(result["initial_return"], [4, 2])
    np.testing.assert_allclose(result["final_return"], [7, 5])
    np.testing.assert_allclose(result["worst_drop"], [3, 0])
    # Trapezoidal rule: (1000 * (4 + 1) / 2 + 2000 * (1 + 7) / 2) / 3000 and (1000 * 2 + 2000 * 3.5) / 3000
    np.testing.assert_allclose(result["auc_return"], [3.5, 3.0])
    np.testing.assert_allclose(result["final_length"], [8, 6])
    np.testing.assert_allclose(result["reward_per_step"], [9, 7])
    np.testing.assert_allclose(result["coverage"], [10, 8])
    np.testing.assert_allclose(result["category_entropy"], [11, 9])
    np.testing.assert_allclose(result["gini"], [12, 10])
    np.testing.assert_allclose(result["regain_steps"], [3000, 0])
    assert all(values.shape == (2,) and values.dtype == np.float64 for values in result.values())


@pytest.mark.parametrize("steps", [[0], [5000], [0, 0]])
def test_without_steps_the_area_is_the_return(steps: list[int]):
    result = curve_metrics(np.array(steps), curves(np.full((2, len(steps)), 3.0)))
    np.testing.assert_array_equal(result["auc_return"], [3.0, 3.0])
    np.testing.assert_array_equal(result["worst_drop"], [0.0, 0.0])


def test_regained_means_that_the_return_stays_at_or_above_its_first_value():
    steps = np.array([500, 1500, 3500, 5500])
    returns = [[4, 3, 5, 6], [4, 5, 3, 4], [4, 3, 5, 3], [4, 4, 4, 4], [4, 5, 6, 7]]
    # Below at the second point; at the third; at the second and last; never; never.
    steps_to_regain = regain_steps(steps, np.array(returns, float))
    np.testing.assert_array_equal(steps_to_regain, [3000, 5000, 5000, 0, 0])
    np.testing.assert_array_equal(regain_steps(np.array([0]), np.ones((2, 1))), [0, 0])


def test_the_late_gain_compares_the_last_fifth_with_the_fifth_before():
    steps = np.arange(0, 11_000, 1000)
    line, late = steps / 1000.0, np.where(steps > 6000, 5.0, 0.0)
    fifth = [0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6]  # rises until 6,000 steps
    gains = late_gain(steps, np.stack([line, np.full(11, 3.0), fifth, -line, late]))
    np.testing.assert_allclose(gains, [2, 0, 0, -2, 5 - (2.5 + 5) / 2])
    np.testing.assert_allclose(late_gain(steps, line[None], share=0.5), [5])


@given(hnp.arrays(float, (2, 4), elements=st.floats(0, 50)), st.floats(-5, 5))
def test_the_late_gain_ignores_the_level_and_the_points_before(returns: np.ndarray, level: float):
    steps = np.array([0, 5000, 6000, 10_000])
    gains = late_gain(steps, returns)
    np.testing.assert_allclose(late_gain(steps, returns + level), gains, atol=1e-9)
    np.testing.assert_allclose(late_gain(steps, np.delete(returns, 0, 1)[:, [0, 0, 1, 2]]), gains, atol=1e-9)


def test_the_late_gain_needs_no_points_inside_the_parts():
    np.testing.assert_allclose(late_gain(np.array([0, 3000]), np.array([[1.0, 4.0]])), [0.6])
    np.testing.assert_allclose(late_gain(np.array([0, 3000]), np.array([[2.0, 2.0]])), [0])


def test_area_counts_from_the_first_point():
    steps, returns = np.array([100, 200, 400]), np.array([[1.0, 2.0, 4.0]])
    np.testing.assert_allclose(auc_return(steps, returns), auc_return(steps - 100, returns))


@given(
    hnp.arrays(float, (3, 6), elements=st.floats(-50, 50)),
    hnp.arrays(np.int64, 6, elements=st.integers(1, 10_000)),
)
def test_bounds(returns: np.ndarray, gaps: np.ndarray):
    steps = np.cumsum(gaps)
    area = auc_return(steps, returns)
    assert (area >= returns.min(axis=1) - 1e-9).all()
    assert (area <= returns.max(axis=1) + 1e-9).all()
    assert (worst_drop(returns) >= 0).all()
    np.testing.assert_allclose(worst_drop(returns + 7), worst_drop(returns), atol=1e-9)


@pytest.mark.parametrize(
    ("steps", "changed", "message"),
    [
        ([0, 1], {"coverage": np.ones((2, 3))}, "do not fit"),
        ([0, 1, 2], {}, "do not fit"),
        ([1, 0], {}, "ascending"),
        ([], {}, "ascending"),
        ([0, 1], {"length": None}, "'length' is missing"),
        ([0, 1], dict.fromkeys(CURVES, np.ones((0, 2))), "do not fit"),
    ],
)
def test_curves_that_do_not_fit_are_refused(steps: list[int], changed: dict, message: str):
    given_curves = {**curves(np.ones((2, 2))), **changed}
    given_curves = {name: curve for name, curve in given_curves.items() if curve is not None}
    with pytest.raises(ValueError, match=message):
        curve_metrics(np.array(steps), given_curves)
