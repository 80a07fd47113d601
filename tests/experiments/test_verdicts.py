"""Tests every claim on made-up curves with a known verdict."""

from __future__ import annotations

import numpy as np
import pytest
from study_fakes import STEPS, pair, world

from experiments.study.verdicts import COLUMNS, Claim, claims, verdicts_table
from ialp_jax.evaluation import statistics
from ialp_jax.evaluation.statistics import Estimate


def verdict_of(pairs, name, where="lfm"):
    claim = {claim.claim: claim for claim in claims(where, pairs)}[name]
    return claim.verdict, float(claim.effect.point)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)


@pytest.mark.parametrize(
    ("low", "high", "at_most", "verdict"),
    [
        (1.0, 1.2, False, "holds"),
        (0.9, 1.2, False, "undecided"),
        (0.9, 1.0, False, "undecided"),
        (0.8, 0.99, False, "fails"),
        (np.nan, np.nan, False, "undecided"),
        (0.8, 1.0, True, "holds"),
        (0.8, 1.1, True, "undecided"),
        (1.01, 1.1, True, "fails"),
        (np.nan, np.nan, True, "undecided"),
    ],
)
def test_the_side_of_the_interval_decides_the_verdict(low, high, at_most, verdict):
    estimate = Estimate(np.array(1.0), np.array(low), np.array(high))
    assert Claim("x", "", 1.0, estimate, at_most).verdict == verdict


def test_effects_without_noise_equal_values_by_hand():
    pairs = world(
        ialp=pair(6, 6, noise=0, points=STEPS[[0, -1]]),
        dqn=pair(1, 8, noise=0),
        pg=pair(2, 5, noise=0),
        a2c=pair(1.5, 4, noise=0),
        a_ialp_ft=pair(6, 9, dip=1.5, noise=0),
        a_ialp_ap=pair(6, 12, noise=0),
    )
    assert verdict_of(pairs, "a") == ("holds", pytest.approx(3.0))
    assert verdict_of(pairs, "b_dqn") == ("holds", pytest.approx(1.5))
    assert verdict_of(pairs, "b_ialp") == ("holds", pytest.approx(2.0))
    # At 5,000 steps, the return of a_ialp_ft is 6 + 3 * 0.05 - 1.5 = 4.65.
    assert verdict_of(pairs, "c_ft") == ("holds", pytest.approx(1.35 / 6))
    assert verdict_of(pairs, "c_ap") == ("holds", 0.0)
    assert verdict_of(pairs, "c_difference") == ("holds", pytest.approx(1.35 / 6))
    assert verdict_of(pairs, "d_a2c") == ("holds", pytest.approx(2.0))
    assert verdict_of(pairs, "d_pg") == ("holds", pytest.approx(1.6))
    name = "e_a_ialp_ap_final_popular"
    assert verdict_of(pairs, name)[1] == pytest.approx(12 / pairs["popular"].metrics["final_return"].mean())


def test_every_claim_fails_on_reversed_curves():
    pairs = world(
        ialp=pair(2, 2, points=STEPS[[0, -1]]),
        dqn=pair(1, 4),
        pg=pair(1.2, 9),
        a2c=pair(0.5, 9),
        a_ialp_ft=pair(2, 9, noise=0),
        a_ialp_ap=pair(2, 1.5, dip=1),
    )
    for name in ("a", "b_dqn", "b_ialp", "c_ft", "c_ap", "c_difference", "d_a2c", "d_pg"):
        assert verdict_of(pairs, name)[0] == "fails", name
    assert verdict_of(pairs, "e_ialp_initial_sasrec")[0] == "fails"


def test_noise_leaves_claims_undecided():
    noisy = world(dqn=pair(0.3, 15.5, noise=3), a_ialp_ap=pair(10, 15.6, noise=3))
    assert verdict_of(noisy, "b_dqn")[0] == "undecided"
    nothing = world(popular=pair(0, 0, noise=0, points=STEPS[[0, -1]]))
    assert verdict_of(nothing, "e_ialp_initial_popular")[0] == "undecided"


def test_two_curves_without_drops_have_no_difference():
    flat = pair(10, 12, noise=0)
    assert verdict_of(world(a_ialp_ft=flat, a_ialp_ap=flat), "c_difference") == ("fails", 0.0)


def test_a_late_drop_does_not_count_as_early():
    late = pair(10, 13, noise=0)
    late.curves["return"][:, -1] = 1.0
    pairs = world(a_ialp_ft=late)
    assert verdict_of(pairs, "c_ft")[0] == "fails"
    assert verdict_of(pairs, "c_difference")[0] == "holds"


def test_a_not_offline_world_tests_only_a_and_b():
    tested = [claim.claim for claim in claims("lfm_not_offline", world())]
    assert tested == ["f_a", "f_b_dqn", "f_b_ialp"]


def test_claims_about_absent_agents_are_left_out():
    few = {name: one for name, one in world().items() if name in ("dqn", "a_ialp_ap", "popular")}
    assert [claim.claim for claim in claims("lfm", few)] == [
        *("b_dqn", "c_ap", "e_a_ialp_ap_initial_popular", "e_a_ialp_ap_final_popular")
    ]
    assert claims("lfm", {}) == []
    letters = {claim.claim[0] for claim in claims("lfm", world())}
    assert letters == set("abcde")


def test_the_gate_is_compared_with_ap_the_rivals_and_the_frozen_policy():
    gate = pair(10, 20)
    assert verdict_of(world(a_ialp_gate=gate), "g_area")[0] == "holds"
    assert verdict_of(world(a_ialp_gate=gate), "g_probability") == ("holds", 1.0)
    assert verdict_of(world(a_ialp_gate=gate), "g_best")[0] == "holds"
    assert verdict_of(world(a_ialp_gate=gate), "g_floor")[0] == "holds"
    assert verdict_of(world(a_ialp_gate=gate, pex=pair(10, 30)), "g_best")[0] == "fails"
    assert verdict_of(world(a_ialp_gate=pair(10, 20, dip=2)), "g_floor")[0] == "fails"


def test_the_gate_is_compared_with_the_frozen_policy_from_which_it_starts():
    gate = pair(10, 20)._replace(start="ialp_soft")
    higher = world(a_ialp_gate=gate, ialp_soft=pair(12, 12))
    assert verdict_of(higher, "g_floor")[0] == "fails"
    assert verdict_of(world(a_ialp_gate=gate._replace(start="ialp"), ialp_soft=pair(12, 12)), "g_floor")[
        0
    ] == ("holds")
    assert "g_floor" not in {claim.claim for claim in claims("lfm", world(a_ialp_gate=gate))}


def test_the_verdicts_table_has_the_documented_columns():
    table = verdicts_table({"lfm": claims("lfm", world()), "coat": []})
    assert list(table.columns) == COLUMNS == ["claim", "world", "verdict", "effect", "ci_low", "ci_high"]
    assert set(table.verdict) <= {"holds", "fails", "undecided"}
    assert (table.ci_low <= table.effect).all()
    assert (table.effect <= table.ci_high).all()
