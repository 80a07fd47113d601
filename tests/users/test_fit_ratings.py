"""Tests the fit of user models to ratings: equations, propensities, settings, and the real Coat data."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rated_world

from ialp_jax.errors import InputError
from ialp_jax.types import Catalogue, Dataset, Histories, Interactions
from ialp_jax.users import explicit_mf
from ialp_jax.users.calibration import calibrate_rated, reliability_rated
from ialp_jax.users.config import ExplicitConfig, UserModelConfig
from ialp_jax.users.fit import fit
from ialp_jax.users.fit_ratings import fit_ratings, scores
from ialp_jax.users.implicit_mf import chunks
from ialp_jax.users.predict import like_probability
from ialp_jax.users.ranking import item_model, rated_metrics


def config(**changes) -> UserModelConfig:
    few = {"factors": "3", "regularisation": "2", "bias_regularisation": "2", "folds": 3}
    return UserModelConfig(family="explicit_mf", explicit=ExplicitConfig(**(few | changes)))


@pytest.fixture(scope="module")
def world():
    return rated_world.dataset(random_test=True)


@pytest.fixture(scope="module")
def fitted(world):
    return fit(world[0], config())


def test_solve_equals_a_weighted_ridge_regression_with_bias():
    draw = np.random.default_rng(0)
    user, item = np.nonzero(draw.random((6, 9)) < 0.6)
    other = draw.normal(size=(9, 4)).astype(np.float32)
    target, weight = draw.normal(size=len(user)), draw.random(len(user))
    penalty = np.array([0.5, 0.5, 0.5, 2.0])
    edges = chunks(user, np.arange(len(user)), 6, width=4)
    factors = explicit_mf.solve(*(jnp.asarray(a) for a in (other, item, target, weight)), edges, 6, penalty)
    for row in range(6):
        mask = user == row
        design = np.c_[other[item[mask], :3], np.ones(mask.sum())]
        left = design.T @ (weight[mask, None] * design) + np.diag(penalty)
        right = design.T @ (weight[mask] * (target[mask] - other[item[mask], 3]))
        np.testing.assert_allclose(factors[row], np.linalg.solve(left, right), rtol=1e-3, atol=1e-4)


def test_scores_are_the_sum_of_mean_bias_and_product():
    users, items = np.array([[2.0, 0.5]]), np.array([[3.0, 0.25], [1.0, -1.0]])
    model = explicit_mf.as_model(users, items, 3.0)
    np.testing.assert_allclose(scores(model, np.array([0, 0]), np.array([1, 2])), [9.75, 4.5])


def test_weights_are_inverse_propensities_of_mean_1(world):
    rows = world[0].interactions
    weight = explicit_mf.weights(rows, "published", 0.01, 0.5)
    assert weight.mean() == pytest.approx(1)
    assert weight[~rows.like].min() == pytest.approx(5 * weight[rows.like].max())
    clipped = explicit_mf.weights(rows, "published", 0.25, 0.5)
    assert clipped.max() == pytest.approx(2 * clipped.min())
    counts = np.bincount(rows.item)[rows.item]
    for power in (0.5, 1.0):
        popular = explicit_mf.weights(rows, "popularity", 0.01, power)
        assert np.ptp(popular * counts**power) < 1e-9
    np.testing.assert_array_equal(explicit_mf.weights(rows, "none", 0.01, 0.5), 1)
    bare = rated_world.dataset(published=False)[0].interactions
    np.testing.assert_array_equal(explicit_mf.weights(bare, "published", 0.01, 1.0), popular)


def test_model_beats_item_means_and_matches_the_like_rate_of_all_pairs(world, fitted):
    dataset, all_ratings = world
    model, metrics, arrays = fitted
    assert metrics["auc"] > 0.05 + metrics["item_mean_auc"] > 0.05 + metrics["popularity_auc"] - 0.05
    assert metrics["ndcg10"] > metrics["item_mean_ndcg10"]
    assert metrics["ece"] < 0.05
    assert metrics["judged"] == len(dataset.random_test.item)
    assert metrics["interactions"] == len(dataset.interactions.item)
    likes = all_ratings >= 3.5
    pairs = np.arange(rated_world.USERS)[:, None], np.arange(1, rated_world.ITEMS + 1)
    chance = np.asarray(like_probability(model, *pairs))
    assert metrics["simulated_like_rate"] == pytest.approx(chance.mean(), abs=1e-3)
    assert chance.mean() == pytest.approx(likes.mean(), abs=0.04)
    assert likes[chance > 0.6].mean() > 0.6 > 0.3 > likes[chance < 0.3].mean()
    assert arrays["likes_real"].sum() == dataset.random_test.like.sum()
    assert arrays["popularity_simulated"].sum() == pytest.approx(arrays["likes_real"].sum(), rel=0.15)


def test_propensities_correct_the_like_rate_for_self_selection(world, fitted):
    truth = np.mean(world[1] >= 3.5)
    naive = fit(world[0], config(propensity="none"))[1]
    assert naive["simulated_like_rate"] > truth + 0.1 > fitted[1]["simulated_like_rate"] + 0.05
    assert naive["ece"] > 2 * fitted[1]["ece"]


def test_without_random_ratings_a_weighted_share_is_the_test():
    dataset, all_ratings = rated_world.dataset()
    metrics = fit(dataset, config())[1]
    assert metrics["judged"] == pytest.approx(0.1 * len(dataset.interactions.item), rel=0.2)
    assert metrics["like_rate"] == pytest.approx(np.mean(all_ratings >= 3.5), abs=0.05)
    assert metrics["auc"] > metrics["item_mean_auc"]


def test_grid_and_seed_change_the_result(world, fitted):
    chosen = fit(world[0], config(factors="1,3", regularisation="2,500"))[1]
    assert (chosen["factors"], chosen["regularisation"]) == (3, 2)
    flat = fit(world[0], config(regularisation="500", bias_regularisation="0.1"))[1]
    stiff = fit(world[0], config(regularisation="500", bias_regularisation="5000"))[1]
    assert chosen["validation_error"] < min(flat["validation_error"], stiff["validation_error"]) - 0.3
    assert abs(flat["validation_error"] - stiff["validation_error"]) > 0.01
    again = fit(world[0], config())[0]
    for one, two in zip(fitted[0], again, strict=True):
        np.testing.assert_array_equal(one, two)
    other = fit(world[0], dataclasses.replace(config(), seed=1))[0]
    assert not np.allclose(other.user_factors, again.user_factors)


def test_random_test_ratings_do_not_change_the_fit(world, fitted):
    rows = world[0].random_test
    turned = dataclasses.replace(world[0])
    flipped = dataclasses.replace(rows, like=~rows.like, rating=6 - rows.rating)
    object.__setattr__(turned, "random_test", flipped)
    model, metrics, _ = fit_ratings(turned, config())
    for one, two in zip(fitted[0], model, strict=True):
        np.testing.assert_array_equal(one, two)
    assert metrics["auc"] == pytest.approx(1 - fitted[1]["auc"], abs=0.02)


def test_ranking_metrics_match_hand_computed_values():
    user = np.array([0, 0, 0, 0, 1, 1, 2])
    like = np.array([True, False, True, False, True, True, False])
    item_scores = np.array([3.0, 2.0, 1.0, 1.0, 5.0, 4.0, 9.0])
    metrics = rated_metrics(item_scores, user, like)
    assert metrics["auc"] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    discount = [1 / np.log2(rank + 2) for rank in (0, 1, 2.5)]
    assert metrics["ndcg10"] == pytest.approx(((discount[0] + discount[2]) / sum(discount[:2]) + 1) / 2)


def test_calibration_of_rated_pairs_uses_the_weights():
    draw = np.random.default_rng(0)
    raw = draw.random(60_000) * 4
    chance = 1 / (1 + np.exp(2 - raw))
    like = draw.random(60_000) < chance
    rated = draw.random(60_000) < np.where(like, 1.0, 0.25)
    weight = np.where(like, 1.0, 4.0)[rated]
    model = calibrate_rated(item_model(np.zeros(2)), raw[rated], like[rated], weight / weight.mean(), 30)
    np.testing.assert_allclose(model.knot_logits, model.knot_scores - 2, atol=0.25)
    bins = reliability_rated(raw, chance, like, np.ones(60_000), 10)
    np.testing.assert_allclose(bins["predicted"], bins["observed"], atol=0.03)
    assert bins["count"].sum() == 60_000


def test_data_and_settings_that_cannot_be_fitted_raise(world):
    bare = dataclasses.replace(world[0], interactions=dataclasses.replace(world[0].interactions, rating=None))
    with pytest.raises(InputError, match=r"family=explicit_mf: rated has no ratings"):
        fit(bare, config())
    likes = dataclasses.replace(world[0].interactions, like=np.ones(len(world[0].interactions.like), bool))
    with pytest.raises(InputError, match=r"like_at"):
        fit(dataclasses.replace(world[0], interactions=likes), config())
    for changes in ({"propensity": "x"}, {"clip": 0.0}, {"power": -1.0}, {"folds": 1}, {"factors": "1.5"}):
        with pytest.raises(InputError, match=rf"explicit\.{next(iter(changes))}"):
            config(**changes).check()
    with pytest.raises(InputError, match="base_rate"):
        dataclasses.replace(config(), base_rate=2.0).check()


def read_coat(folder):
    train, test = (np.loadtxt(folder / name).astype(int) for name in ("train.ascii", "test.ascii"))
    chance = np.loadtxt(folder / "propensities.ascii")

    def rows(matrix):
        user, item = np.nonzero(matrix)
        rating = matrix[user, item].astype(np.float32)
        return Interactions(user.astype(np.int32), (item + 1).astype(np.int32), rating >= 4, rating, False)

    rated = rows(train)
    object.__setattr__(rated, "propensity", chance[rated.user, rated.item - 1])
    counts = np.bincount(rated.user[rated.like], minlength=290)
    histories = Histories(rated.item[rated.like], np.concatenate([[0], np.cumsum(counts)]))
    catalogue = Catalogue(("",) * 301, np.zeros(301, np.int32), ("",))
    dataset = Dataset("coat", catalogue, rated, histories, np.zeros(290, np.int8), {})
    object.__setattr__(dataset, "random_test", rows(test))
    return dataset


def test_coat_model_beats_item_means_on_random_ratings(data_root):
    dataset = read_coat(data_root / "coat")
    one = {"factors": "32", "regularisation": "6", "bias_regularisation": "5"}
    metrics = fit(dataset, config(**one))[1]
    assert metrics["auc"] > metrics["item_mean_auc"] + 0.02 > metrics["popularity_auc"] + 0.02
    assert metrics["ndcg10"] > metrics["item_mean_ndcg10"] + 0.03
    assert metrics["ece"] < 0.07
    assert jax.tree.all(jax.tree.map(lambda leaf: np.isfinite(leaf).all(), metrics))
