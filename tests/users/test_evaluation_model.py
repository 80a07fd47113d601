"""Tests the second user model, which is for evaluation, and the user model family graph_filter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import rated_world

from ialp_jax.data import DataConfig, DemoConfig, load
from ialp_jax.errors import InputError
from ialp_jax.simulator.config import SimulatorConfig
from ialp_jax.users.config import UserModelConfig
from ialp_jax.users.evaluation_model import fit_models, from_arrays, halves, to_arrays
from ialp_jax.users.fit import fit
from ialp_jax.users.graph_filter import low_pass


@pytest.fixture(scope="module")
def small():
    return load(DataConfig(demo=DemoConfig(users=500, items=200, genres=5, observed=1.0)))


def simulator(test_model="", **changes):
    quick = {"factors": "8", "regularisation": "30", "confidence": "20", "iterations": 4}
    return SimulatorConfig(user_model=UserModelConfig(**(quick | changes)), test_model=test_model)


def fit_both(dataset, config):
    return fit_models(dataset, config.user_model, config.test_model)


def test_low_pass_equals_the_filter_of_the_paper():
    draw = np.random.default_rng(0)
    likes = draw.random((30, 20)) < 0.3
    likes[4], likes[:, 7] = False, False
    users, items = low_pass(*np.nonzero(likes), 30, 20, factors=5, seed=0)
    by_user, by_item = (np.maximum(likes.sum(axis), 1) ** -0.5 for axis in (1, 0))
    normal = by_user[:, None] * likes * by_item
    vectors = np.linalg.svd(normal)[2][:5].T
    expected = (likes * by_item) @ vectors @ vectors.T / by_item
    np.testing.assert_allclose(users @ items.T, expected, atol=1e-4)
    assert users.dtype == items.dtype == np.float32


def test_graph_filter_beats_popularity_and_is_deterministic(small):
    config = simulator(family="graph_filter", factors="2,4,8").user_model
    model, metrics, _ = fit(small, config)
    assert metrics["auc"] > metrics["popularity_auc"] + 0.1
    assert metrics["ece"] < 0.02
    assert metrics["factors"] in (2, 4, 8)
    assert "regularisation" not in metrics
    for one, two in zip(model, fit(small, config)[0], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("which", ["implicit", "explicit"])
def test_halves_are_disjoint_and_even(small, which):
    full = small if which == "implicit" else rated_world.dataset()[0]
    parts = halves(full, seed=0)

    def pairs(dataset):
        rows = dataset.interactions
        return set(zip(rows.user.tolist(), rows.item.tolist(), rows.like.tolist(), strict=True))

    assert pairs(parts[0]) | pairs(parts[1]) == pairs(full)
    assert not pairs(parts[0]) & pairs(parts[1])
    for user in range(full.num_users):
        all_likes, *likes = (sorted(part.histories.of(user)) for part in (full, *parts))
        assert sorted(likes[0] + likes[1]) == all_likes
        assert abs(len(likes[0]) - len(likes[1])) <= 1
    for part in parts:
        rows = part.interactions
        np.testing.assert_array_equal(part.histories.items, rows.item[rows.like])
        assert np.all(np.diff(rows.user) >= 0)
        assert (rows.rating is None) == (which == "implicit")
    assert pairs(halves(full, seed=1)[0]) != pairs(parts[0])


def test_without_test_model_only_one_model_is_fitted(small):
    first, second = fit_both(small, simulator())
    assert second is None
    for one, two in zip(first.model, fit(small, simulator().user_model)[0], strict=True):
        np.testing.assert_array_equal(one, two)


def test_both_halves_keep_the_like_rate_of_the_full_data(small):
    settings = {"base_rate": 1.5, "regularisation": "30,60"}
    both = fit_both(small, simulator("halves", **settings))
    full = fit(small, simulator(**settings).user_model)[1]
    rates = [part.metrics["simulated_like_rate"] for part in both]
    np.testing.assert_allclose(rates, full["simulated_like_rate"], rtol=0.1)
    assert not np.allclose(both[0].model.user_factors, both[1].model.user_factors)
    for part in both:
        assert part.metrics["auc"] > part.metrics["popularity_auc"]


def test_nearly_all_pairs_may_be_likes(small):
    likes = [len(half.histories.items) for half in halves(small, seed=0)]
    density = max(likes) / small.num_users / small.catalogue.num_items
    settings = {"base_rate": 0.97 / density / 2, "regularisation": "30"}
    for part in fit_both(small, simulator("halves", **settings)):
        assert part.metrics["simulated_like_rate"] == pytest.approx(0.97, rel=0.02)
        assert np.isfinite(part.metrics["ece"])


def test_likes_of_the_other_half_count_as_unknown(small):
    one, two = halves(small, seed=0)
    config = simulator().user_model
    without = fit(one, config)[0]
    with_unknown, metrics, _ = fit(one, config, unknown=two.histories)
    np.testing.assert_array_equal(without.item_factors, with_unknown.item_factors)
    assert with_unknown.knot_logits[-1] > without.knot_logits[-1]
    assert metrics["interactions"] == len(one.histories.items)


def test_test_model_may_be_another_family(small):
    first, second = fit_both(small, simulator("truth"))
    assert second.model is small.truth
    assert first.metrics["factors"] == 8
    _, second = fit_both(small, simulator("graph_filter"))
    assert "confidence" not in second.metrics


def test_to_arrays_and_from_arrays_round_trip(small):
    first, second = fit_both(small, simulator("truth"))
    for model, other in ((first.model, second.model), (first.model, None)):
        back = from_arrays(to_arrays(model, other))
        for before, after in zip((model, other), back, strict=True):
            assert (before is None) == (after is None)
            for one, two in zip(before or (), after or (), strict=True):
                np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("test_model", "changes", "message"),
    [
        ("thirds", {}, "unknown"),
        ("implicit_mf", {}, "train with this family"),
        ("halves", {"family": "truth"}, "not fitted"),
        ("explicit_mf", {"base_rate": 2.0}, "base_rate"),
    ],
)
def test_impossible_test_models_raise(test_model, changes, message):
    with pytest.raises(InputError, match=message):
        simulator(test_model, **changes).check()
    simulator("halves").check()


@pytest.mark.slow
def test_halves_of_ratings_keep_the_like_rate():
    world = rated_world.dataset(random_test=True)[0]
    config = simulator("halves", family="explicit_mf")
    few = {"factors": "3", "regularisation": "2", "bias_regularisation": "2", "folds": 3}
    config.user_model.explicit = dataclasses.replace(config.user_model.explicit, **few)
    first, second = (part.metrics for part in fit_both(world, config))
    assert first["simulated_like_rate"] == pytest.approx(second["simulated_like_rate"], abs=0.06)
    assert first["interactions"] + second["interactions"] == len(world.interactions.item)
