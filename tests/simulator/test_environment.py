"""Tests the environment: rules on small examples, properties of all sessions, and gymnax's interface."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import environment
from hypothesis import given, settings
from hypothesis import strategies as st

from ialp_jax.simulator.environment import SessionEnvironment, respond
from ialp_jax.simulator.types import SessionParams
from ialp_jax.types import UserModel

ITEMS, LENGTH, HORIZON = 9, 3, 6
ENV = SessionEnvironment()
LIKED = (2, 4, 5, 6, 7, 8)  # user 0 likes these items with probability 1, user 1 the others


def world(**changes) -> SessionParams:
    scores = np.full((2, ITEMS + 1), -50.0, np.float32)
    scores[0, list(LIKED)] = 50.0
    scores[1] = -scores[0]
    knots = jnp.array([-50.0, 50.0])
    model = UserModel(jnp.eye(2), jnp.asarray(scores.T), jnp.zeros(ITEMS + 1), knots, knots)
    values = {
        "user_model": model,
        "start_histories": jnp.array([[0, 0, 2], [3, 1, 9]]),
        "users": jnp.array([0, 1]),
        "patience": jnp.float32(2.0),
        "dislike_cost": jnp.float32(1.0),
        "recovery": jnp.float32(0.5),
        "max_steps_in_episode": HORIZON,
    }
    return SessionParams(**(values | changes))


def run(items, params=None, user=0):
    """Runs a session without automatic reset: [(observation, state, reward, terminated, truncated), ...]."""
    params = params or world()
    _, state = ENV.start(jnp.int32(user), params)
    rows = []
    for number, item in enumerate(items):
        observation, state, reward, terminated, info = ENV.step_env(
            jax.random.key(number), state, jnp.int32(item - 1), params
        )
        rows.append(
            (observation, state, float(reward), bool(terminated), bool(ENV.is_truncated(state, params)))
        )
        assert bool(info["like"]) == bool(reward)
        assert int(info["user"]) == user
    return rows


def test_session_starts_with_the_history_of_its_user():
    observation, state = ENV.start(jnp.int32(1), world())
    np.testing.assert_array_equal(observation.history, [3, 1, 9])
    np.testing.assert_array_equal(observation.shown, [3, 1, 9] + [0] * HORIZON)
    assert float(state.patience) == 2.0
    assert int(state.time) == 0


def test_reset_draws_all_users_of_the_split_and_no_others():
    keys = jax.random.split(jax.random.key(0), 200)
    _, both = jax.vmap(ENV.reset, in_axes=(0, None))(keys, world())
    assert set(np.unique(both.user)) == {0, 1}
    _, one = jax.vmap(ENV.reset, in_axes=(0, None))(keys, world(users=jnp.array([1])))
    assert set(np.unique(one.user)) == {1}


def test_only_liked_items_enter_the_history():
    rows = run([4, 1, 5])
    np.testing.assert_array_equal(rows[0][0].history, [0, 2, 4])
    np.testing.assert_array_equal(rows[1][0].history, [0, 2, 4])
    np.testing.assert_array_equal(rows[2][0].history, [2, 4, 5])
    assert [row[2] for row in rows] == [1.0, 0.0, 1.0]
    np.testing.assert_array_equal(rows[2][0].shown, [0, 0, 2, 4, 1, 5, 0, 0, 0])


def test_patience_falls_recovers_and_never_exceeds_its_start_value():
    assert [float(row[1].patience) for row in run([4, 1, 5, 6, 7])] == [2.0, 1.0, 1.5, 2.0, 2.0]


@pytest.mark.parametrize("item", [2, 4])
def test_repeated_items_earn_nothing_even_from_the_starting_history(item):
    rows = run([4, item])
    assert rows[1][2] == 0.0
    assert float(rows[1][1].patience) == 1.0


def test_user_leaves_when_patience_is_gone():
    rows = run([1, 3])
    assert [row[3] for row in rows] == [False, True]
    assert [row[4] for row in rows] == [False, False]


def test_horizon_truncates_the_session_of_a_user_who_stays():
    rows = run([4, 5, 6, 7, 8, 1])
    assert [row[3] for row in rows] == [False] * 6
    assert [row[4] for row in rows] == [False] * 5 + [True]


def test_leaving_at_the_horizon_is_terminated_and_not_truncated():
    rows = run([4, 5, 6, 7, 1, 3])
    assert (rows[-1][3], rows[-1][4]) == (True, False)
    _, state = ENV.start(jnp.int32(0), world())
    state = state.replace(time=jnp.int32(HORIZON - 1), patience=jnp.float32(1.0))
    *_, terminated, truncated, info = ENV.step(jax.random.key(0), state, jnp.int32(0), world())
    assert (bool(terminated), bool(truncated)) == (True, False)
    assert (bool(info["terminated"]), bool(info["truncated"])) == (True, False)


def test_step_resets_automatically_and_returns_the_true_final_observation():
    params = world(users=jnp.array([1]))
    _, state = ENV.start(jnp.int32(0), params)
    state = state.replace(patience=jnp.float32(1.0))
    observation, after, _, terminated, _, info = ENV.step(jax.random.key(0), state, jnp.int32(0), params)
    assert bool(terminated)
    np.testing.assert_array_equal(info["final_observation"].history, [0, 0, 2])
    np.testing.assert_array_equal(info["final_observation"].shown[:4], [0, 0, 2, 1])
    np.testing.assert_array_equal(observation.history, [3, 1, 9])
    assert (int(after.user), int(after.time), float(after.patience)) == (1, 0, 2.0)


def test_likes_have_the_probability_of_the_user_model():
    knots = jnp.array([0.0])
    params = world()
    params = params.replace(
        user_model=params.user_model._replace(knot_scores=knots, knot_logits=jnp.array([np.log(0.3 / 0.7)]))
    )
    _, state = ENV.start(jnp.int32(0), params)
    keys = jax.random.split(jax.random.key(3), 20_000)
    likes = jax.vmap(lambda key: ENV.step_env(key, state, jnp.int32(0), params)[2])(keys)
    assert abs(float(likes.mean()) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)


def draws(params, count=20_000):
    """Steps of ``count`` independent keys, by `step`, from user 0's first state."""
    state = ENV.start(jnp.int32(0), params)[1].replace(patience=jnp.float32(0.5))
    keys = jax.random.split(jax.random.key(11), count)
    step = jax.jit(jax.vmap(ENV.step, in_axes=(0, None, 0, None)))
    action = jnp.arange(count, dtype=jnp.int32) % ITEMS
    return action + 1, step(keys, state, action, params)


def test_steps_like_each_pair_as_often_as_the_user_model_and_then_draw_users_uniformly():
    params, count = world(users=jnp.tile(jnp.array([0, 1]), 3)[:5], recovery=jnp.float32(-1.0)), 40_000
    model = params.user_model._replace(
        item_factors=jnp.linspace(-2, 2, 2 * (ITEMS + 1)).reshape(-1, 2),
        knot_scores=jnp.array([-5.0, 5.0]),
        knot_logits=jnp.array([-5.0, 5.0]),
    )
    item, (_, after, reward, terminated, *_) = draws(params.replace(user_model=model), count)
    assert np.all(terminated)  # so every step starts a session
    expected = 1 / (1 + np.exp(-np.asarray(model.item_factors)[:, 0]))
    expected[2] = 0.0  # shown in the starting history
    for number in range(1, ITEMS + 1):
        likes = np.asarray(reward)[np.asarray(item) == number]
        margin = 4 * np.sqrt(expected[number] * (1 - expected[number]) / len(likes))
        assert abs(likes.mean() - expected[number]) <= margin
    user = np.asarray(after.user)
    assert abs(user.mean() - 2 / 5) < 4 * np.sqrt(0.24 / count)  # 2 of 5 entries of ``users`` are user 1
    fresh = np.asarray(item) != 2
    correlation = np.corrcoef(user[fresh], np.asarray(reward)[fresh])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(fresh.sum()), "the next user does not depend on the answer"


def test_step_and_step_env_give_the_same_answer_for_the_same_key():
    knots = jnp.array([0.0])  # every like has probability one half
    params = world()
    params = params.replace(user_model=params.user_model._replace(knot_scores=knots, knot_logits=knots))
    item, (_, _, reward, *_, info) = draws(params, 64)
    state = ENV.start(jnp.int32(0), params)[1].replace(patience=jnp.float32(0.5))
    keys = jax.random.split(jax.random.key(11), 64)
    final, _, alone, *_ = jax.vmap(ENV.step_env, in_axes=(0, None, 0, None))(keys, state, item - 1, params)
    np.testing.assert_array_equal(reward, alone)
    assert 0 < reward.mean() < 1
    for one, other in zip(final, info["final_observation"], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_of_the_preset_paper_costs_one_hash():
    params = world()
    _, state = ENV.start(jnp.int32(0), params)
    program = str(jax.make_jaxpr(ENV.step)(jax.random.key(0), state, jnp.int32(0), params))
    assert program.count("random_fold_in") == 1
    assert not any(name in program for name in ("random_bits", "random_split", "threefry"))


@pytest.mark.parametrize(
    ("knob", "value", "expected"),
    [("patience", 4.0, 3.0), ("dislike_cost", 0.25, 1.75), ("recovery", 0.0, 1.0)],
)
def test_every_setting_changes_the_result(knob, value, expected):
    _, state = ENV.start(jnp.int32(0), world(**{knob: jnp.float32(value)}))
    rows = [1, 4] if knob == "recovery" else [1]
    params = world(**{knob: jnp.float32(value)})
    for item in rows:
        state = respond(state, jnp.int32(item), jnp.bool_(item in LIKED), params)
    assert float(state.patience) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, ITEMS), st.booleans()), min_size=1, max_size=HORIZON))
def test_state_and_history_agree_for_any_answers(answers):
    params = world()
    _, state = ENV.start(jnp.int32(0), params)
    liked, patience = [2], 2.0
    for item, like in answers:
        state = RESPOND(state, jnp.int32(item), jnp.bool_(like), params)
        liked += [item] if like else []
        patience = min(patience + 0.5, 2.0) if like else patience - 1.0
    expected = ([0] * LENGTH + liked)[-LENGTH:]
    np.testing.assert_array_equal(state.history, expected)
    np.testing.assert_array_equal(state.shown[LENGTH : LENGTH + len(answers)], [item for item, _ in answers])
    assert float(state.patience) == patience
    terminated, truncated = ENV.is_terminated(state, params), ENV.is_truncated(state, params)
    assert not (terminated and truncated)
    assert bool(terminated) == (patience <= 0)


RESPOND = jax.jit(respond)


def test_jit_and_vmap_agree_with_single_steps():
    params = world()
    keys = jax.random.split(jax.random.key(1), 5)
    _, states = jax.vmap(ENV.reset, in_axes=(0, None))(keys, params)
    actions = jnp.array([0, 3, 4, 8, 1])
    together = jax.jit(jax.vmap(ENV.step, in_axes=(0, 0, 0, None)))(keys, states, actions, params)
    for row in range(5):
        state = jax.tree.map(lambda leaf, row=row: leaf[row], states)
        single = ENV.step(keys[row], state, actions[row], params)
        for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(together), strict=True):
            np.testing.assert_array_equal(a, b[row])


def test_spaces_match_the_observations():
    assert isinstance(ENV, environment.Environment)
    params = world()
    assert ENV.action_space(params).n == ITEMS
    space = ENV.observation_space(params)
    observation, _ = ENV.reset(jax.random.key(0), params)
    for name in ("history", "shown"):
        assert space.spaces[name].shape == getattr(observation, name).shape
        assert bool(space.spaces[name].contains(getattr(observation, name)))
    assert {field.name for field in dataclasses.fields(params)} >= {"user_model", "max_steps_in_episode"}
