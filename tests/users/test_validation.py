"""Tests of ranking metrics and calibration on cases with known results."""

from __future__ import annotations

import numpy as np
import pytest

from ialp_jax.data import DataConfig, DemoConfig, load
from ialp_jax.types import UserModel
from ialp_jax.users.calibration import (
    calibrate,
    expected_calibration_error,
    raised,
    reliability,
    shift_to_mean,
    with_level,
)
from ialp_jax.users.config import UserModelConfig
from ialp_jax.users.fit import fit
from ialp_jax.users.holdout import NEVER, TEST, TRAIN, VALIDATION, roles
from ialp_jax.users.ranking import popularity_model, ranking_metrics
from ialp_jax.users.validation import validate


def scorer(scores):
    """Returns a user model whose log-odds are exactly these scores [U, N]."""
    scores = np.asarray(scores, np.float32)
    items = np.concatenate([np.zeros((1, len(scores)), np.float32), scores.T])
    knots = np.array([-20.0, 20.0], np.float32)
    return UserModel(
        np.eye(len(scores), dtype=np.float32), items, np.zeros(len(items), np.float32), knots, knots
    )


def test_auc_and_ndcg_match_hand_computed_values():
    table = np.array([[TEST, NEVER, TRAIN, NEVER, TEST], [NEVER, NEVER, TEST, VALIDATION, NEVER]], np.int8)
    scores = [[3.0, 2.0, 9.0, 1.0, 1.5], [1.0, 0.0, 0.0, 9.0, 2.0]]
    metrics = ranking_metrics(scorer(scores), table, TEST)
    # The test likes of user 0 have ranks 0 and 2 among 4 items, so the AUC is (1 + 1/2) / 2. The test like of
    # user 1 ties with one item, and two items rank higher.
    assert metrics["auc"] == pytest.approx(np.mean([0.75, 0.5 / 3]))
    first = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert metrics["ndcg10"] == pytest.approx(np.mean([first, 1 / np.log2(2.5 + 2)]))


def test_ranking_metrics_agree_with_sorting():
    draw = np.random.default_rng(0)
    table = draw.choice([NEVER, TRAIN, VALIDATION, TEST], (40, 60), p=[0.7, 0.1, 0.1, 0.1]).astype(np.int8)
    scores = draw.normal(size=table.shape)
    aucs, ndcgs = [], []
    for row, part in zip(scores, table, strict=True):
        good, bad = row[part == VALIDATION], row[part == NEVER]
        aucs.append(np.mean(good[:, None] > bad))
        order = np.argsort(-np.where((part == NEVER) | (part == VALIDATION), row, -np.inf))[:10]
        ideal = np.sum(1 / np.log2(np.arange(min(10, len(good))) + 2))
        ndcgs.append(np.sum((part[order] == VALIDATION) / np.log2(np.arange(10) + 2)) / ideal)
    metrics = ranking_metrics(scorer(scores), table, VALIDATION)
    assert metrics["auc"] == pytest.approx(np.mean(aucs), abs=1e-5)
    assert metrics["ndcg10"] == pytest.approx(np.mean(ndcgs), abs=1e-5)


def test_equal_scores_have_auc_one_half():
    table = np.full((5, 9), NEVER, np.int8)
    table[:, :2] = TEST
    assert ranking_metrics(scorer(np.zeros((5, 9))), table, TEST)["auc"] == pytest.approx(0.5)


def test_popularity_counts_training_likes_only():
    table = np.array([[TRAIN, TEST, NEVER], [TRAIN, TEST, VALIDATION]], np.int8)
    assert popularity_model(table, TRAIN).item_bias.tolist() == [0, 2, 0, 0]


def world(num_users=800, num_items=200, seed=0):
    """Returns log-odds [U, N], and the roles of likes that are drawn from these log-odds."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(-3.0, 1.5, (num_users, num_items))
    table = np.zeros(logits.shape, np.int8)
    liked = draw.random(logits.shape) < 1 / (1 + np.exp(-logits))
    table[liked] = draw.choice([TRAIN, VALIDATION, TEST], liked.sum(), p=[0.6, 0.2, 0.2])
    return logits, table


def held_out_weight(table, role):
    return np.sum(table > 0) / np.sum(table == role)


def test_calibration_recovers_log_odds_from_a_monotone_score():
    logits, table = world()
    raw = scorer(np.tanh(logits / 4))
    model = calibrate(raw, table, VALIDATION, knots=30, weight=held_out_weight(table, VALIDATION))
    assert np.all(np.diff(model.knot_scores) > 0)
    assert np.all(np.diff(model.knot_logits) > 0)
    assert 10 < len(model.knot_scores) <= 30
    some = np.array([-4.0, -3.0, -2.0, -1.0, 0.0])
    np.testing.assert_allclose(np.interp(np.tanh(some / 4), *model[3:]), some, atol=0.25)


def test_larger_weight_raises_the_like_rate():
    logits, table = world()
    weight = held_out_weight(table, VALIDATION)
    one, three = (calibrate(scorer(logits), table, VALIDATION, 10, factor * weight) for factor in (1, 3))
    shift = np.interp(one.knot_scores, three.knot_scores, three.knot_logits) - one.knot_logits
    np.testing.assert_allclose(shift[1:-1], np.log(3), atol=0.35)


def test_calibration_of_random_scores_is_flat():
    logits, table = world()
    noise = scorer(np.random.default_rng(9).normal(size=logits.shape))
    model = calibrate(noise, table, VALIDATION, 20, held_out_weight(table, VALIDATION))
    probability = 1 / (1 + np.exp(-model.knot_logits))
    assert np.all(np.abs(probability - np.mean(table > 0)) < 0.03)
    assert np.all(np.diff(model.knot_logits) > 0), "bins that do not increase are merged"
    assert len(model.knot_logits) < 12
    near = np.argsort(np.abs(model.knot_logits - np.median(model.knot_logits)))[0]
    assert probability[near] == pytest.approx(np.mean(table > 0), rel=0.05), (
        "the probability is the mean rate of the merged bins"
    )


def test_reliability_tells_the_truth_from_a_wrong_model():
    logits, table = world()
    weight = held_out_weight(table, TEST)
    right = reliability(scorer(logits), table, TEST, 15, weight)
    assert expected_calibration_error(right) < 0.01
    assert len(right["count"]) == 15
    assert np.sum(right["count"] * right["observed"]) == pytest.approx(np.sum(table > 0))
    doubled = reliability(scorer(logits + 1.0), table, TEST, 15, weight)
    assert expected_calibration_error(doubled) == pytest.approx(
        np.mean(1 / (1 + np.exp(-logits - 1)) - 1 / (1 + np.exp(-logits))), rel=0.15
    )


def test_shift_gives_the_mean_also_with_infinite_log_odds():
    assert shift_to_mean(np.zeros(3), np.ones(3), 0.8) == pytest.approx(np.log(4))
    logits, count = np.array([-np.inf, -3.0, 1.0, np.inf]), np.array([5.0, 3.0, 1.0, 1.0])
    shift = shift_to_mean(logits, count, 0.4)
    assert np.sum(count / (1 + np.exp(-logits - shift))) == pytest.approx(4.0)


def test_raised_model_has_the_mean_and_one_shift_for_all_log_odds():
    logits, table = world()
    model = scorer(logits)
    higher = raised(model, table, 0.3)
    shift = higher.knot_logits - model.knot_logits
    assert shift[0] == pytest.approx(shift[1], abs=1e-5)
    assert np.mean(1 / (1 + np.exp(-logits - shift[0]))) == pytest.approx(0.3, rel=1e-5)


def test_calibration_error_on_test_likes_sees_a_wrong_level():
    logits, table = world()
    density, weight = np.mean(table > 0), held_out_weight(table, VALIDATION)

    def error(model):
        bins = reliability(model, table, TEST, 15, held_out_weight(table, TEST))
        return expected_calibration_error(with_level(bins, 3.0, "mean"))

    fitted = raised(calibrate(scorer(logits), table, VALIDATION, 30, weight), table, 3 * density)
    by_odds = calibrate(scorer(logits), table, VALIDATION, 30, 3 * weight)
    mean = np.mean(1 / (1 + np.exp(-np.interp(logits, by_odds.knot_scores, by_odds.knot_logits))))
    assert error(fitted) < 0.015
    assert 3 * density - mean > 0.04
    assert error(by_odds) > 0.9 * (3 * density - mean)


def test_expected_calibration_error_matches_hand_computed_value():
    bins = {
        "predicted": np.array([0.1, 0.5]),
        "observed": np.array([0.2, 0.5]),
        "count": np.array([3.0, 1.0]),
    }
    assert expected_calibration_error(bins) == pytest.approx(0.075)


def test_validation_of_the_truth_if_logs_hold_only_a_share_of_the_likes():
    data = load(DataConfig(demo=DemoConfig(users=1000, items=200, genres=6, observed=0.5)))
    table = roles(data.histories, data.catalogue.num_items, 0.1, 0.3, 0)
    metrics, arrays = validate(data.truth, table, None)
    by_training = ranking_metrics(popularity_model(table, TRAIN), table, TEST)
    assert metrics["popularity_auc"] == by_training["auc"]
    assert metrics["ece"] < 0.01
    assert metrics["simulated_like_rate"] == pytest.approx(2 * metrics["like_rate"], rel=0.05)
    assert metrics["auc"] > metrics["popularity_auc"] > 0.6
    assert metrics["ndcg10"] > metrics["popularity_ndcg10"] > 0
    assert arrays["likes_simulated"].sum() == pytest.approx(arrays["popularity_simulated"].sum())
    np.testing.assert_allclose(
        arrays["popularity_simulated"][:20] / 2, arrays["popularity_real"][:20], rtol=0.25
    )


def test_metrics_and_arrays_of_a_fit():
    data = load(DataConfig(demo=DemoConfig(users=300, items=120, genres=4)))
    config = UserModelConfig(factors="8", regularisation="30", confidence="10,20", iterations=5)
    _, metrics, arrays = fit(data, config)
    assert metrics["users"] == data.num_users
    assert metrics["items"] == data.catalogue.num_items
    assert metrics["interactions"] == len(data.interactions.item)
    assert metrics["like_rate"] == pytest.approx(
        np.diff(data.histories.offsets).mean() / data.catalogue.num_items
    )
    assert metrics["simulated_like_rate"] == pytest.approx(metrics["like_rate"], rel=0.3)
    assert metrics["confidence"] in (10.0, 20.0)
    assert all(isinstance(value, float) and np.isfinite(value) for value in metrics.values())
    likes = np.bincount(data.interactions.item, minlength=data.catalogue.num_items + 1)[1:]
    np.testing.assert_array_equal(arrays["popularity_real"], np.sort(likes)[::-1])
    np.testing.assert_array_equal(arrays["likes_real"], np.diff(data.histories.offsets))
    assert np.all(np.diff(arrays["popularity_simulated"]) <= 0)
    shapes = {name: arrays[f"reliability_{name}"].shape for name in ("predicted", "observed", "count")}
    assert len(set(shapes.values())) == 1
