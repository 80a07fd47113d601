"""A check of a world fails if, and only if, the returns of the reference policies contradict it."""

from __future__ import annotations

import pytest

from ialp_jax.evaluation.sanity import world_checks


def metrics(**changes):
    values = {}
    for name, value in {"random": 1.0, "popular": 3.0, "oracle": 9.0, "stayer": 5.0}.items():
        values |= {f"{name}_return": value, f"{name}_length": 10.0 + value}
        values |= {f"{name}_return_ci_low": value - 0.5, f"{name}_return_ci_high": value + 0.5}
    return values | changes


def test_a_sound_world_passes_every_check():
    checks = world_checks(metrics())
    assert len(checks) == 4
    assert all(check.holds for check in checks)
    assert checks[0].figures == "9.00 [8.50, 9.50] against 3.00 [2.50, 3.50]"


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({"oracle_return_ci_low": 3.4}, ["oracle above popular", "oracle above stayer"]),
        ({"popular_return_ci_low": 1.4}, ["popular above random"]),
        ({"stayer_return_ci_high": 8.6}, ["oracle above stayer"]),
        ({"oracle_length": 10.5}, ["stay at least as long"]),
        ({"random_return_ci_high": float("nan")}, ["popular above random"]),
        # If the interval of the difference is known, it decides.
        ({"oracle_return_ci_low": 3.4, "oracle_above_popular_ci_low": 0.1}, ["oracle above stayer"]),
        ({"popular_above_random_ci_low": -0.1}, ["popular above random"]),
    ],
)
def test_each_contradiction_fails_its_check(changes, failing):
    failed = [check.demand for check in world_checks(metrics(**changes)) if not check.holds]
    assert len(failed) == len(failing)
    assert all(any(demand.endswith(end) for demand in failed) for end in failing)


def test_checks_without_their_policies_are_left_out():
    without = {name: value for name, value in metrics().items() if not name.startswith("stayer")}
    assert len(world_checks(without)) == 3
    assert world_checks({}) == []
