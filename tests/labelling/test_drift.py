"""Tests the facts about label rounds with hand-made labels, whose means can be counted."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from small_world import dataset

from ialp_jax.labelling import drift
from ialp_jax.types import Histories, UserModel
from ialp_jax.users.predict import like_probability

USERS, ITEMS, LENGTH, K = 4, 9, 3, 2
HISTORIES = Histories(np.array([1, 2, 3, 2, 9, 5], np.int32), np.array([0, 3, 5, 5, 6]))
MODEL = UserModel(
    user_factors=jnp.eye(USERS),
    item_factors=jnp.asarray(np.random.default_rng(0).normal(0, 1, (ITEMS + 1, USERS)), jnp.float32),
    item_bias=jnp.zeros(ITEMS + 1),
    knot_scores=jnp.array([-5.0, 5.0]),
    knot_logits=jnp.array([-5.0, 5.0]),
)


def arrays():
    """Two rounds of two prompts each; the second round has no choice and no histories."""
    return {
        "histories": np.array([[0, 1, 4], [9, 2, 5], [0, 0, 0], [0, 0, 0]], np.int32),
        "candidates": np.array([[5, 6], [7, 8], [1, 2], [3, 4]], np.int32),
        "choice": np.array([2, 1, 0, -1], np.int32),
        "scores": np.array([[0.0, 1.0], [3.0, -np.inf], [2.0, 2.0], [np.nan, 1.0]], np.float32),
        "shown": np.array(
            [[0, 1, 4, 0, 0], [9, 2, 5, 3, 6], [0, 0, 0, 3, 0], [0, 0, 0, 0, 0]], np.int32
        ),  # L = 3 and two steps
        "user": np.array([0, 1, 2, 3], np.int32),
        "round": np.array([0, 0, 1, 1], np.int32),
    }


@pytest.fixture(scope="module")
def facts():
    class Logs:
        histories = HISTORIES

    return drift.by_round(arrays(), Logs, MODEL)


def test_real_likes_are_those_in_the_users_own_log():
    real = drift.really_liked(arrays()["histories"], arrays()["user"], HISTORIES)
    # Item 4 has no like of user 0, and user 1 likes 9 and 2, but not 5.
    assert real.tolist() == [[False, True, False], [True, True, False], [False] * 3, [False] * 3]


def test_real_likes_agree_with_sets_of_python():
    data, random = dataset(), np.random.default_rng(5)
    user = random.integers(0, data.num_users, 200)
    items = random.integers(0, data.catalogue.num_items + 1, (200, 6))
    expected = [
        [item in set(data.histories.of(u).tolist()) for item in row]
        for u, row in zip(user, items, strict=True)
    ]
    assert 0 < np.mean(expected) < 1
    np.testing.assert_array_equal(drift.really_liked(items, user, data.histories), expected)


def test_the_first_round_has_its_means(facts):
    chance = {
        (user, item): float(like_probability(MODEL, user, item))
        for user in range(USERS)
        for item in range(10)
    }
    assert facts[0] == pytest.approx(
        {
            "round": 0,
            "prompts": 2,
            "real_likes": 3 / 5,
            "prompts_without_real_likes": 0,
            "none": 0,
            "invalid": 0,
            "age": 1,  # 0 and 2 steps
            "chosen_like_probability": (chance[0, 6] + chance[1, 7]) / 2,
            "mean_like_probability": (chance[0, 5] + chance[0, 6] + chance[1, 7] + chance[1, 8]) / 4,
            "best_like_probability": (max(chance[0, 5], chance[0, 6]) + max(chance[1, 7], chance[1, 8])) / 2,
            "rank_correlation": (np.sign(chance[0, 6] - chance[0, 5]) + np.sign(chance[1, 7] - chance[1, 8]))
            / 2,
        },
        rel=1e-5,
    )


def test_a_mean_over_nothing_is_none(facts):
    assert facts[1]["real_likes"] is None
    assert facts[1]["chosen_like_probability"] is None
    assert facts[1]["rank_correlation"] is None  # equal scores, and a score that is not a number
    assert facts[1]["prompts_without_real_likes"] == 1
    assert facts[1]["none"] == facts[1]["invalid"] == facts[1]["age"] == 0.5
    assert json.loads(json.dumps(facts)) == facts


def test_large_rounds_are_computed_in_parts(facts, monkeypatch):
    monkeypatch.setattr(drift, "CHUNK", 3)

    class Logs:
        histories = HISTORIES

    assert drift.by_round(arrays(), Logs, MODEL) == facts


def test_rank_correlations_are_those_of_scipy():
    random = np.random.default_rng(1)
    scores, chances = random.integers(0, 4, (30, 7)).astype(np.float32), random.random((30, 7))
    expected = [stats.spearmanr(*pair).statistic for pair in zip(scores, chances, strict=True)]
    np.testing.assert_allclose(drift._rank_correlations(scores, chances), expected, atol=1e-12)
