"""The adaptive gate: what it starts from, and which way trust moves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, start_of, world

from ialp_jax.agents.a2c import act_on_logits
from ialp_jax.agents.config import GateConfig
from ialp_jax.agents.gate import features, gate
from ialp_jax.errors import InputError
from ialp_jax.networks.heads import mask_shown
from ialp_jax.training.rollout import collect, start_users

START = start_of(0)
CONFIG = GateConfig(num_users=4, rollout_length=5)


@pytest.fixture(scope="module")
def theta():
    """A frozen policy with preferences."""
    params = jax.jit(ACTOR_CRITIC.init)(jax.random.key(0), START.history)
    return jax.tree.map(lambda leaf: 3 * leaf, params)


def fresh(theta, **changes):
    agent = gate(dataclasses.replace(CONFIG, **changes), ACTOR_CRITIC)
    return agent, jax.jit(agent.init)(jax.random.key(1), START, theta)


def frequencies(agent, state, count=20_000):
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), START)
    action, _ = jax.jit(agent.act)(state, many, jax.random.key(2))
    return np.bincount(np.asarray(action), minlength=ACTOR_CRITIC.num_items) / count


def frozen_logits(theta):
    return mask_shown(ACTOR_CRITIC.apply(theta, START.history).logits, START.shown)


@pytest.mark.parametrize("trust", [1.0, 0.5, 2.0])
def test_it_starts_as_the_frozen_policy_to_the_power_of_trust(theta, trust):
    found = frequencies(*fresh(theta, trust=trust))
    np.testing.assert_allclose(found, jax.nn.softmax(trust * frozen_logits(theta)), atol=0.02)


def test_greedy_takes_the_mode(theta):
    agent, state = fresh(theta)
    action, _ = agent.act(state, START, jax.random.key(0), greedy=True)
    assert int(action) == int(act_on_logits(ACTOR_CRITIC, theta, START, jax.random.key(0), True)[0])


def test_features_are_directions_and_a_constant():
    seen = np.asarray(features(jnp.asarray([[3.0, 4.0], [0.0, 0.0]])))
    np.testing.assert_allclose(seen, [[0.6, 0.8, 1.0], [0.0, 0.0, 1.0]], atol=1e-6)


def experience(agent, state):
    def run(state):
        users = start_users(ENV, world("two_tastes"), jax.random.key(3), 4)
        return collect(ENV, world("two_tastes"), agent, state, users, jax.random.key(3))[1]

    return jax.jit(run)(state)


@pytest.mark.parametrize("liked", ["preferred", "others"])
def test_trust_follows_what_the_frozen_preferences_earn(theta, liked):
    """Rewards for what theta prefers to its own average, or for all else."""
    agent, state = fresh(theta, trust_rate=100.0, learning_rate=1e-3, entropy_cost=0.0)
    batch = experience(agent, state)
    frozen = jax.nn.log_softmax(
        mask_shown(ACTOR_CRITIC.apply(theta, batch.observation.history).logits, batch.observation.shown)
    )
    taken = jnp.take_along_axis(frozen, batch.action[..., None], -1)[..., 0]
    preferred = taken > jnp.sum(jnp.exp(frozen) * frozen, -1)
    reward = (preferred if liked == "preferred" else ~preferred) * 10.0
    ended = jnp.ones_like(batch.terminated)
    update = jax.jit(agent.update)
    for _ in range(3):
        state, metrics = update(state, batch._replace(reward=reward, terminated=ended), jax.random.key(0))
    trust = float(metrics["trust"])
    assert trust > 1.05 if liked == "preferred" else trust < 0.95


def test_trust_differs_between_states_and_the_rate_acts(theta):
    spreads = {}
    for rate in (1.0, 50.0):
        agent, state = fresh(theta, trust_rate=rate)
        batch = experience(agent, state)
        state, _ = jax.jit(agent.update)(state, batch, jax.random.key(0))
        spreads[rate] = float(jax.jit(agent.update)(state, batch, jax.random.key(0))[1]["trust_spread"])
    assert 0 < spreads[1.0] < spreads[50.0]


def test_an_update_moves_all_that_is_learned_and_leaves_the_frozen_policy(theta):
    agent, state = fresh(theta)
    after, _ = jax.jit(agent.update)(state, experience(agent, state), jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, after.memory, theta)
    assert int(after.env_steps) == 20
    network = after.params.network["params"]
    assert np.abs(network["actor"]["bias"]).max() > 0
    assert np.abs(after.params.weights).max() > 0
    assert not np.array_equal(
        network["critic"]["Dense_0"]["kernel"], state.params.network["params"]["critic"]["Dense_0"]["kernel"]
    )


@pytest.mark.parametrize("changes", [{"trust": 0.0}, {"trust_rate": -1.0}, {"trace": 2.0}])
def test_impossible_settings_are_refused(changes):
    with pytest.raises(InputError, match=r"--config\.agents\.gate"):
        GateConfig(**changes).check()
