"""Sessions are shared equally among users; points between the ends describe the same users as the ends."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ENV, ITEMS, world
from test_adapt import EPISODES, bandit

from ialp_jax.agents.base import frozen_state
from ialp_jax.agents.reference import popular, random
from ialp_jax.evaluation.references import interval_over_users, reference_returns
from ialp_jax.simulator.world import World
from ialp_jax.training.adapt import OnlineTask, adapt
from ialp_jax.training.config import AdaptConfig, EvaluationConfig
from ialp_jax.training.rollout import play, users_of
from ialp_jax.training.seeds import seed_keys
from ialp_jax.training.sessions import levelled, player
from ialp_jax.types import EVALUATION

KEY = jax.random.key(3)
STATE = frozen_state({})


def task(evaluation, env_steps=3000, where="two_tastes", seeds=2):
    params = world(where)
    config = AdaptConfig(env_steps=env_steps, seeds_by="map")
    return OnlineTask(ENV, params, params, jax.random.key(0), seeds, config, evaluation)


@pytest.mark.parametrize(("users", "sessions"), list(itertools.product((1, 3, 7), (1, 2, 7, 40))))
def test_every_user_has_as_equally_many_sessions_as_possible(users, sessions):
    params = world("two_tastes").replace(users=10 + jnp.arange(users))
    chosen = np.asarray(users_of(params, KEY, 0, sessions))
    counts = np.bincount(chosen - 10, minlength=users)
    assert counts.sum() == sessions
    assert counts.max() - counts.min() <= 1
    parts = [users_of(params, KEY, first, 1) for first in range(sessions)]
    np.testing.assert_array_equal(chosen, np.concatenate(parts))  # the list does not depend on the batches


def test_the_key_decides_which_users_have_one_session_more():
    params = world("two_tastes")
    drawn = jax.vmap(lambda key: users_of(params, key, 0, 2))(jax.random.split(KEY, 1200))
    counts = np.bincount(np.asarray(drawn) @ [4, 1], minlength=16).reshape(4, 4)
    assert (np.diag(counts) == 0).all()
    assert counts[~np.eye(4, dtype=bool)].min() > 60  # 100 expected for each ordered pair of the four users


def test_play_takes_the_users_of_its_batch_and_gives_each_batch_its_own_answers():
    def batch(number):
        return play(ENV, world("coin"), popular(np.arange(ITEMS + 1)), STATE, KEY, KEY, 8, batch=number)

    first, again, second = map(jax.jit(batch), (0, 0, 1))
    np.testing.assert_array_equal(first.total, again.total)
    np.testing.assert_array_equal(first.user, second.user)  # 8 sessions are twice all four users
    assert (first.total != second.total).any()


def test_more_sessions_at_the_ends_leave_the_common_sessions_as_they_are():
    few, many = (adapt(task(dataclasses.replace(EPISODES, ends=ends)), bandit()) for ends in (32, 80))
    for name in ("coverage", "gini", "learn/like_rate"):
        np.testing.assert_array_equal(few[name], many[name])
    assert (few["return"][:, [0, -1]] != many["return"][:, [0, -1]]).all()
    share = many["env_steps"] / many["env_steps"][-1]
    gap = many["return"] - few["return"]
    np.testing.assert_allclose(gap, gap[:, :1] * (1 - share) + gap[:, -1:] * share, atol=1e-5)


def test_the_ends_are_the_mean_of_all_batches_and_the_last_batch_is_cut():
    agent, evaluation = popular(np.arange(ITEMS + 1)), EvaluationConfig(episodes=16, ends=40)
    job = task(evaluation, where="coin_leaves", seeds=1)
    curves = adapt(job, agent)
    play_batch = jax.jit(player(ENV, agent, job.key, evaluation))
    batches = [play_batch(job.evaluation, number, STATE, seed_keys(job.key, 1)[0]) for number in range(3)]
    total, length = (np.concatenate([getattr(b, name) for b in batches])[:40] for name in ("total", "length"))
    np.testing.assert_allclose(curves["return"], total.mean(), rtol=1e-6)
    np.testing.assert_allclose(curves["length"], length.mean(), rtol=1e-6)
    np.testing.assert_allclose(curves["reward_per_step"], total.sum() / length.sum(), rtol=1e-6)
    shown = np.unique(batches[0].items[np.asarray(batches[0].items) > 0])
    np.testing.assert_allclose(curves["coverage"], len(shown) / ITEMS, rtol=1e-6)  # of the common sessions


def test_fewer_sessions_at_the_ends_than_between_are_as_many_as_between():
    same = [adapt(task(dataclasses.replace(EPISODES, ends=ends)), bandit()) for ends in (1, 32)]
    np.testing.assert_array_equal(same[0]["return"], same[1]["return"])


def test_a_policy_that_does_not_change_has_a_level_curve_by_hand():
    rows = [
        {"return": np.array([12.0]), "common/return": np.array([10.0]), "gini": np.array([0.5])},
        {"return": np.array([10.0]), "common/return": np.array([10.0]), "gini": np.array([0.5])},
        {"return": np.array([7.0]), "common/return": np.array([7.0]), "gini": np.array([0.4])},
        {"return": np.array([13.0]), "common/return": np.array([10.0]), "gini": np.array([0.3])},
    ]
    curves = levelled([0, 1000, 2000, 4000], rows)
    assert set(curves) == {"return", "gini"}
    np.testing.assert_allclose(curves["return"], [[12, 10 + 2.25, 7 + 2.5, 13]])
    np.testing.assert_allclose(curves["gini"], [[0.5, 0.5, 0.4, 0.3]])


def test_stratified_sessions_have_a_smaller_error_than_sessions_of_random_users():
    """Two users like everything and two like nothing: with every user equally often, no error is left."""
    params = world("two_tastes")
    means = []
    for number in range(8):
        key = jax.random.key(number)
        agent = popular(np.arange(ITEMS + 1)[::-1])
        means.append(float(play(ENV, params, agent, STATE, key, key, 8).total.mean()))
    assert np.ptp(means) == 0


def test_reference_policies_use_the_same_rule(monkeypatch):
    params = world("coin")
    small = World(ENV, params, None)
    monkeypatch.setattr(World, "of", lambda self, split: params if split == EVALUATION else None)
    agents = {"random": random(ITEMS), "popular": popular(np.arange(ITEMS + 1))}
    returns = reference_returns(small, agents, KEY, 300)  # two batches
    assert returns["random_return_ci_low"] < returns["random_return"] < returns["random_return_ci_high"]
    assert returns == reference_returns(small, agents, KEY, 300)
    assert returns["random_return"] * 300 == pytest.approx(round(returns["random_return"] * 300))
    gap = returns["popular_return"] - returns["random_return"]
    assert returns["popular_above_random"] == pytest.approx(gap)
    # In this world every item is liked alike, so the paired difference has no spread, unlike the returns.
    assert returns["popular_above_random_ci_low"] == returns["popular_above_random_ci_high"] == 0


def test_the_interval_of_a_reference_is_interval_over_users():
    total, user = np.array([1.0, 3, 5, 7, 9, 11], np.float32), np.array([0, 0, 4, 4, 7, 7])
    mean, half = interval_over_users(total, user)
    assert mean == 6
    assert half == pytest.approx(1.96 * np.std([2, 6, 10], ddof=1) / np.sqrt(3))
    assert np.isnan(interval_over_users(total, user * 0)[1])
