"""Tests of flat observations, and of agents of other libraries that train on them."""

from __future__ import annotations

import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ialp_jax.errors import InputError
from ialp_jax.simulator.adapters.flat import FiveValueSteps, FlatSessions


def both(world, encoding, actions):
    """Returns pairs (plain, flat) of the observations of one session, with the final observations."""
    env, params = world
    flat = FlatSessions(env, encoding)
    key = jax.random.key(0)
    (observation, state), (vector, other) = env.reset(key, params), flat.reset(key, params)
    rows = [(observation, vector)]
    for number, action in enumerate(actions):
        key = jax.random.key(number + 1)
        plain, wrapped = env.step(key, state, action, params), flat.step(key, other, action, params)
        state, other = plain[1], wrapped[1]
        for a, b in zip(plain[2:5], wrapped[2:5], strict=True):
            np.testing.assert_array_equal(a, b)
        rows += [
            (plain[0], wrapped[0]),
            (plain[5]["final_observation"], wrapped[5]["final_observation"]),
        ]
    return rows


def test_ids_encode_history_and_shown_items(world):
    env, params = world
    num_items = env.action_space(params).n
    for observation, vector in both(world, "ids", range(12)):
        expected = np.concatenate([observation.history, observation.shown])
        np.testing.assert_array_equal(np.round(np.asarray(vector) * num_items), expected)


def test_bag_separates_history_from_other_shown_items(world):
    env, params = world
    for observation, vector in both(world, "bag", range(12)):
        history, shown = set(np.asarray(observation.history)) - {0}, set(np.asarray(observation.shown)) - {0}
        expected = [
            1.0 if item in history else -1.0 if item in shown else 0.0
            for item in range(1, env.action_space(params).n + 1)
        ]
        np.testing.assert_array_equal(vector, expected)


@pytest.mark.parametrize("encoding", ["bag", "ids"])
def test_space_matches_the_observation(world, encoding):
    env, params = FlatSessions(world[0], encoding), world[1]
    observation, _ = env.reset(jax.random.key(0), params)
    space = env.observation_space(params)
    assert (space.shape, space.dtype) == (observation.shape, observation.dtype)
    assert bool(space.contains(observation))
    with pytest.raises(InputError, match="'words': unknown; known: bag, ids"):
        FlatSessions(world[0], "words")


def train(env, params, updates=100, users=64, steps=12):
    """Trains a linear policy by REINFORCE. Uses only reset, step and the spaces of the environment.

    Returns the mean reward per step of the first and of the last ten updates.
    """
    inputs, outputs = env.observation_space(params).shape[0], env.action_space(params).n
    weights = {"w": jnp.zeros((inputs, outputs)), "b": jnp.zeros(outputs)}
    optimiser = optax.adam(0.05)

    def update(carry, key):
        weights, memory, observation, state = carry

        def act(carry, key):
            observation, state = carry
            action = jax.random.categorical(key, observation @ weights["w"] + weights["b"])
            keys = jax.random.split(key, users)
            after, state, reward, *_ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
                keys, state, action, params
            )
            return (after, state), (observation, action, reward)

        (observation, state), (observations, action, reward) = jax.lax.scan(
            act, (observation, state), jax.random.split(key, steps)
        )

        def loss(weights):
            log_probability = jax.nn.log_softmax(observations @ weights["w"] + weights["b"])
            chosen = jnp.take_along_axis(log_probability, action[..., None], -1)[..., 0]
            return -jnp.mean(chosen * (reward - reward.mean()))

        change, memory = optimiser.update(jax.grad(loss)(weights), memory)
        return (optax.apply_updates(weights, change), memory, observation, state), reward.mean()

    keys = jax.random.split(jax.random.key(1), users)
    start = jax.vmap(env.reset, in_axes=(0, None))(keys, params)
    rewards = jax.lax.scan(
        update, (weights, optimiser.init(weights), *start), jax.random.split(jax.random.key(0), updates)
    )[1]
    return float(rewards[:10].mean()), float(rewards[-10:].mean())


def test_plain_gymnax_agent_learns(world):
    first, last = train(FlatSessions(world[0]), world[1])
    assert last > 1.15 * first  # without learning, the ratio is 1 +- 0.03


def test_five_value_step_merges_terminated_and_truncated(world):
    env, params = FlatSessions(world[0]), world[1]
    old = copy.deepcopy(FiveValueSteps(env))
    _, state = old.reset(jax.random.key(0), params)
    ends = 0
    for number in range(12):
        six = env.step(jax.random.key(number), state, 0, params)
        observation, state, reward, done, _ = old.step(jax.random.key(number), state, 0, params)
        np.testing.assert_array_equal(observation, six[0])
        assert float(reward) == float(six[2])
        assert bool(done) == bool(six[3] | six[4])
        ends += int(done)
    assert ends
    first, last = train_five(old, params)
    assert last > 1.15 * first  # without learning, the ratio is 1 +- 0.03


def train_five(env, params):
    """Calls `train` with an environment whose step returns five values, as rejax 0.1.3 expects."""

    class Six:
        observation_space, action_space, reset = env.observation_space, env.action_space, env.reset

        @staticmethod
        def step(*arguments):
            observation, state, reward, done, info = env.step(*arguments)
            return observation, state, reward, done, jnp.zeros_like(done), info

    return train(Six, params)


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_rejax_agents_learn(world, name):
    rejax = pytest.importorskip("rejax")
    settings = {
        "PPO": {"num_steps": 32, "num_minibatches": 4, "num_epochs": 4},
        "DQN": {"buffer_size": 8000, "fill_buffer": 500, "batch_size": 64, "target_update_freq": 200},
    }[name]
    agent = getattr(rejax, name).create(
        env=FiveValueSteps(FlatSessions(world[0])),
        env_params=world[1],
        num_envs=16,
        total_timesteps=16_384,
        eval_freq=8192,
        learning_rate=1e-3,
        gamma=0.9,
        **settings,
    )
    _, (_, returns) = jax.jit(agent.train)(jax.random.key(0))
    assert returns[-1].mean() > 1.3 * returns[0].mean()
