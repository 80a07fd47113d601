"""Each part of the dynamics acts as documented. A part that is switched off changes nothing."""

from __future__ import annotations

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ialp_jax.keys import unit, words
from ialp_jax.labelling.imagine import imagined_params
from ialp_jax.simulator import dynamics
from ialp_jax.simulator.actions import to_item
from ialp_jax.simulator.dynamics_params import (
    Boredom,
    Dislikes,
    Drift,
    Dynamics,
    Noise,
    Returning,
    Satiation,
    Segments,
    _recency_weights,
)
from ialp_jax.simulator.environment import SessionEnvironment, respond
from ialp_jax.simulator.types import SessionParams
from ialp_jax.types import Observation, UserModel
from ialp_jax.users.predict import like_probability

# Items 1..3 have category 1, items 4..6 have category 2, items 7 and 8 have none. The vectors of items 7 and
# 8 have the same direction.
CATEGORY = jnp.array([0, 1, 1, 1, 2, 2, 2, 0, 0])[:, None]
VECTORS = jnp.array([[0, 0], [1, 0], [1, 0.1], [0.9, 0], [0, 1], [0, 2], [0.1, 1], [1, 1], [2, 2.0]])
ITEMS, HORIZON = 8, 6
ENV = SessionEnvironment()
F = jnp.float32
near = functools.partial(pytest.approx, abs=1e-5)


def params(horizon=HORIZON, logit=0.0, **parts) -> SessionParams:
    """A world of two users. The log-odds of a like are ``logit`` plus the dot product of the vectors."""
    return SessionParams(
        user_model=UserModel(
            user_factors=jnp.array([[1.0, 0.0], [0.6, 0.8]]),
            item_factors=VECTORS,
            item_bias=jnp.full(ITEMS + 1, logit),
            knot_scores=jnp.array([-50.0, 50.0]),
            knot_logits=jnp.array([-50.0, 50.0]),
        ),
        start_histories=jnp.zeros((2, 2), jnp.int32),
        users=jnp.arange(2),
        patience=F(4.0),
        dislike_cost=F(1.0),
        recovery=F(1.0),
        dynamics=Dynamics(**parts),
        max_steps_in_episode=horizon,
    )


def boredom(logit=0.0, patience=0.0, similarity=2.0, window=3):
    directions = VECTORS / jnp.maximum(jnp.linalg.norm(VECTORS, axis=1, keepdims=True), 1e-9)
    return Boredom(F(logit), F(patience), F(similarity), _recency_weights(window), CATEGORY, directions)


def start(world, user=0):
    return ENV.start(jnp.int32(user), world)[1]


def answered(world, *answers, user=0):
    """Returns the state after the given items and answers, without random draws."""
    state = start(world, user)
    for item, like in answers:
        state = respond(state, jnp.int32(item), jnp.bool_(like), world)
    return state


def logit(world, state, item):
    return float(dynamics.like_logit(state, jnp.int32(item), world))


def plain_step(key, state, action, params):
    """The rules of the preset ``paper``, implemented without ``dynamics``."""
    item, in_range = to_item(action, params.user_model.item_bias.shape[0] - 1)
    like = unit(words(key, "step")[0]) < like_probability(params.user_model, state.user, item)
    like &= in_range & ~jnp.any(state.shown == item)
    liked = jnp.concatenate([state.history[1:], item[None]])
    recovered = jnp.minimum(state.patience + params.recovery, params.patience)
    here = jnp.arange(state.shown.shape[0]) == state.history.shape[0] + state.time
    state = state.replace(
        time=state.time + 1,
        history=jnp.where(like, liked, state.history),
        shown=jnp.where(here, item, state.shown),
        patience=jnp.where(like, recovered, state.patience - params.dislike_cost),
    )
    info = {"like": like, "user": state.user, "out_of_range": ~in_range}
    return Observation(state.history, state.shown), state, like.astype(F), state.patience <= 0, info


def operations(step, world):
    """Counts each primitive in the traced program."""
    program = str(jax.make_jaxpr(step)(jax.random.key(0), start(world), jnp.int32(3), world))
    return collections.Counter(re.findall(r"= ([a-z_0-9]+)", program))


def test_dynamics_that_are_off_change_neither_program_nor_state_nor_results():
    world = params()
    assert operations(ENV.step_env, world) == operations(plain_step, world)
    assert len(jax.tree.leaves(start(world))) == 5
    assert not jax.tree.leaves(world.dynamics)
    state = start(world)
    for number in range(HORIZON):
        arguments = (jax.random.key(number), state, jnp.int32(number), world)
        new, old = ENV.step_env(*arguments), plain_step(*arguments)
        for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True):
            np.testing.assert_array_equal(a, b)
        state = new[1]
    on = params(satiation=Satiation(jnp.ones(3), F(0.9), CATEGORY))
    assert operations(ENV.step_env, on) != operations(plain_step, on)


def likes_of(world, state, item, draws=4000):
    keys = jax.random.split(jax.random.key(7), draws)
    step = jax.jit(jax.vmap(ENV.step_env, in_axes=(0, None, None, None)))
    return step(keys, state, jnp.int32(item - 1), world)


def test_dislikes_cost_reward_and_patience_and_get_rarer_with_the_like_probability():
    world = params(logit=-1.0, dislikes=Dislikes(F(0.5), F(0.25), F(2.0)))
    rates = []
    for item in (1, 4):  # log-odds 0 and -1
        _, state, reward, _, info = likes_of(world, start(world), item)
        like, dislike = np.asarray(info["like"]), np.asarray(info["dislike"])
        assert not np.any(like & dislike)
        np.testing.assert_allclose(reward, like - 0.25 * dislike)
        expected = np.where(like, 4.0, np.where(dislike, 1.0, 3.0))
        np.testing.assert_allclose(state.patience, expected)
        rates.append(dislike[~like].mean())
    np.testing.assert_allclose(rates, [0.5 * 0.5, 0.5 / (1 + np.exp(-1))], atol=0.03)


def test_recency_weights_items_of_the_same_category_by_inverse_age():
    part = boredom(window=3)
    recent = jnp.array([1, 4, 2])
    recency = [float(dynamics.recency(part, recent, jnp.int32(item))) for item in (3, 5, 7)]
    np.testing.assert_allclose(recency, [(1 + 1 / 3) / (11 / 6), (1 / 2) / (11 / 6), 0.0], rtol=1e-6)
    nothing = jnp.array([0, 0, 0])
    assert float(dynamics.recency(boredom(similarity=0.0), nothing, jnp.int32(7))) == 0.0


def test_items_are_similar_if_they_share_one_of_several_categories():
    several = jnp.array([[0, 0], [1, 3], [1, 0], [2, 0], [2, 3], [0, 0], [0, 0], [0, 0], [0, 0]])
    part = boredom(window=3)._replace(category=several)
    recent = jnp.array([1, 0, 2])  # their weights are 1/3, 1/2 and 1, and the sum is 11/6
    recency = [float(dynamics.recency(part, recent, jnp.int32(item))) for item in (1, 2, 3, 4, 5)]
    np.testing.assert_allclose(recency, [8 / 11, 8 / 11, 0.0, 2 / 11, 0.0], rtol=1e-6)


def test_items_with_nearly_equal_vectors_are_similar_without_a_common_category():
    recency = [
        float(dynamics.recency(boredom(similarity=s), jnp.array([0, 0, 7]), jnp.int32(8))) for s in (0.99, 2)
    ]
    np.testing.assert_allclose(recency, [6 / 11, 0.0], rtol=1e-6)


def test_boredom_lowers_likes_and_patience_until_the_category_changes():
    world = params(boredom=boredom(logit=2.0, patience=0.5, window=2))
    same, other = answered(world, (1, False), (2, False)), answered(world, (1, False), (4, False))
    assert float(same.patience) == near(2.0 - 0.5 * 2 / 3)
    assert float(other.patience) == 2.0
    assert logit(world, same, 3) == near(0.9 - 2.0)
    assert logit(world, same, 4) == near(0.0)
    assert logit(world, other, 3) == near(0.9 - 2.0 / 3)


def test_satiation_grows_with_likes_of_a_category_and_decays():
    world = params(satiation=Satiation(jnp.array([0.0, 1.0, 1.0]), F(0.5), CATEGORY))
    assert logit(world, answered(world, (1, True)), 3) == near(0.9 - 0.5)
    assert logit(world, answered(world, (1, True), (2, True)), 3) == near(0.9 - 0.75)
    assert logit(world, answered(world, (1, True), (4, False)), 3) == near(0.9 - 0.25)
    assert logit(world, answered(world, (1, True)), 5) == near(0.0)
    assert logit(world, answered(world, (7, True)), 8) == near(2.0)  # no category, no satiation


def test_satiation_of_an_item_with_several_categories_is_their_mean():
    several = jnp.array([[0, 0], [1, 2], [1, 0], [2, 0], [3, 0], [0, 0], [0, 0], [2, 3], [0, 0]])
    world = params(satiation=Satiation(jnp.array([0.0, 1.0, 1.0, 1.0]), F(0.5), several))
    fresh, satiated = start(world), answered(world, (1, True))  # categories 1 and 2 now have satiation 0.5
    decrease = [logit(world, fresh, item) - logit(world, satiated, item) for item in (1, 2, 3, 4, 7, 8)]
    np.testing.assert_allclose(decrease, [0.5, 0.5, 0.5, 0.0, 0.25, 0.0], atol=1e-6)


def drifted(item, user=1, **part):
    world = params(drift=Drift(F(part.get("attraction", 0.0)), F(part.get("noise", 0.0))))
    state = likes_of(world, start(world, user), item, draws=200)[1]
    return np.asarray(state.mood.taste)


def test_taste_drifts_towards_agreeing_items_and_keeps_its_length():
    taste = drifted(4, attraction=0.5)
    expected = np.array([0.6, 0.8 + 0.5 * 0.8])
    np.testing.assert_allclose(taste, np.tile(expected / np.linalg.norm(expected), (200, 1)), rtol=1e-5)
    np.testing.assert_allclose(drifted(4), np.tile([0.6, 0.8], (200, 1)), rtol=1e-5)


def test_taste_noise_is_a_random_walk_that_changes_likes():
    taste = drifted(4, noise=0.2)
    np.testing.assert_allclose(np.linalg.norm(taste, axis=1), 1.0, rtol=1e-5)
    assert 0.05 < taste.std(axis=0).max() < 0.2
    world = params(drift=Drift(F(0.5), F(0.0)))
    state = start(world)
    moved = state.replace(mood=state.mood.replace(taste=jnp.array([0.0, 1.0])))
    assert logit(world, state, 5) == 0.0
    assert logit(world, moved, 5) == near(2.0)


def test_segments_scale_patience_and_lower_likes_of_popular_items():
    appeal = jnp.array([0, 1, 0, 0, 0, -1.0, 0, 0, 0])
    world = params(segments=Segments(jnp.array([1, 2]), F(0.5), F(3.0), appeal))
    assert [float(start(world, user).patience) for user in (0, 1)] == [2.0, 4.0]
    assert float(answered(world, (1, True)).patience) == 2.0  # a like restores the full patience of this user
    assert logit(world, start(world, 0), 1) == near(1.0)
    assert logit(world, start(world, 1), 1) == near(0.6 - 3.0)
    assert logit(world, start(world, 1), 5) == near(1.6 + 3.0)


def test_noise_flips_answers_and_repeats_are_still_never_liked():
    world = params(logit=40.0, noise=Noise(F(0.0), F(0.3)))
    assert float(likes_of(world, start(world), 1)[2].mean()) == near(0.7, abs=0.03)
    world = params(logit=-40.0, noise=Noise(F(0.2), F(0.0)))
    assert float(likes_of(world, start(world), 1)[2].mean()) == near(0.2, abs=0.03)
    assert float(likes_of(world, answered(world, (1, False)), 1)[2].mean()) == 0.0


def test_returns_depend_on_likes_and_reset_all_but_the_taste():
    parts = {
        "boredom": boredom(logit=1.0),
        "satiation": Satiation(jnp.ones(3), F(0.9), CATEGORY),
        "drift": Drift(F(0.1), F(0.0)),
        "returning": Returning(F(0.1), F(0.8), jnp.int32(0)),
    }
    world = params(logit=-40.0, **parts)
    state = answered(world, (1, True), (2, False), user=1)
    assert not np.asarray(likes_of(world, state, 4)[-1]["returned"]).any()  # nobody left
    state = state.replace(patience=F(1.0))
    _, after, _, terminated, info = likes_of(world, state, 4)
    returned = np.asarray(info["returned"])
    assert returned.mean() == near(0.1 + 0.8 / 3, abs=0.03)
    np.testing.assert_array_equal(terminated, ~returned)
    np.testing.assert_array_equal(after.patience, np.where(returned, 4.0, 0.0))
    np.testing.assert_array_equal(info["visit"], returned)
    assert not np.asarray(after.mood.recent)[returned].any()
    assert not np.asarray(after.mood.satiation)[returned].any()
    assert np.asarray(after.mood.satiation)[~returned].any()
    np.testing.assert_array_equal(after.mood.visit.steps, np.where(returned, 0, 3))
    np.testing.assert_array_equal(np.asarray(after.shown)[:, 2:5], np.tile([1, 2, 4], (4000, 1)))
    assert np.ptp(np.asarray(after.mood.taste), axis=0).max() == 0
    assert np.all(np.asarray(after.mood.taste)[0] != state.mood.taste)  # drifted by item 4


def test_visit_ends_after_its_length_even_with_patience_left():
    world = params(logit=40.0, returning=Returning(F(0.0), F(0.0), jnp.int32(2)))
    first = likes_of(world, start(world), 1, draws=50)
    assert not np.asarray(first[3]).any()
    state = jax.tree.map(lambda leaf: leaf[0], first[1])
    second = likes_of(world, state, 2, draws=50)
    assert np.asarray(second[3]).all()
    assert np.all(np.asarray(second[2]) == 1.0)


def all_parts():
    return {
        "dislikes": Dislikes(F(0.3), F(0.2), F(0.5)),
        "boredom": boredom(logit=1.0, patience=0.5, similarity=0.99),
        "satiation": Satiation(jnp.array([0.0, 0.3, 0.3]), F(0.9), CATEGORY),
        "drift": Drift(F(0.1), F(0.1)),
        "segments": Segments(jnp.array([1, 2]), F(0.5), F(1.0), jnp.linspace(-1, 1, ITEMS + 1)),
        "noise": Noise(F(0.01), F(0.05)),
        "returning": Returning(F(0.1), F(0.6), jnp.int32(3)),
    }


def test_item_scores_equal_like_logits_or_raw_scores_if_no_part_changes_the_ranking():
    world = params(**all_parts())
    states = jax.vmap(lambda user: answered(world, (1, True), (4, False), user=user))(jnp.arange(2))
    table = dynamics.item_scores(states, world)
    assert table.shape == (2, ITEMS)
    for user in range(2):
        state = jax.tree.map(lambda leaf, user=user: leaf[user], states)
        one = [logit(world, state, item) for item in range(1, ITEMS + 1)]
        np.testing.assert_allclose(table[user], one, rtol=1e-5, atol=1e-6)
    plain = params()  # raw scores differ, calibrated scores are tied
    plain = plain.replace(user_model=plain.user_model._replace(knot_logits=jnp.zeros(2)))
    expected = plain.user_model.user_factors @ VECTORS[1:].T
    np.testing.assert_allclose(
        dynamics.item_scores(jax.vmap(lambda u: start(plain, u))(jnp.arange(2)), plain), expected
    )


def test_jit_vmap_and_single_steps_agree_with_all_parts_on():
    world = params(**all_parts())
    keys = jax.random.split(jax.random.key(1), 4)
    _, states = jax.vmap(ENV.reset, in_axes=(0, None))(keys, world)
    actions = jnp.array([0, 3, 6, 7])
    together = jax.jit(jax.vmap(ENV.step, in_axes=(0, 0, 0, None)))(keys, states, actions, world)
    for number in range(4):
        state = jax.tree.map(lambda leaf, number=number: leaf[number], states)
        single = ENV.step(keys[number], state, actions[number], world)
        for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(a, b[number], rtol=1e-6)
    sizes = {leaf.size for leaf in jax.tree.leaves(start(world))}
    assert not sizes & {ITEMS, ITEMS + 1} - {HORIZON + 2}


def test_imagined_sessions_use_only_boredom():
    windows = np.array([[0, 1], [0, 2], [1, 4]], np.int32)  # more windows than users
    world = imagined_params(params(**all_parts()), windows)
    state = answered(world, (4, False), (5, False), user=2)
    assert float(state.patience) == near(2.0 - 0.5 * (1 / (11 / 6)))
    assert state.mood.taste is None
    assert state.mood.visit is None
