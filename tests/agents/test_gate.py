"""Tests the start of the adaptive gate, the effect of answers, and the direction of its updates."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, decided_params, start_of, world

from ialp_jax.agents.acting import act_on_logits
from ialp_jax.agents.config import GateConfig
from ialp_jax.agents.gate import PRIOR, Answers, evidence, features, gate, with_answers
from ialp_jax.networks.heads import mask_shown
from ialp_jax.training.rollout import collect, start_users

START = start_of(0)
CONFIG = GateConfig(num_users=4, rollout_length=5)


@pytest.fixture(scope="module")
def theta():
    """A frozen policy with preferences."""
    return decided_params(0)


def fresh(theta, **changes):
    agent = gate(dataclasses.replace(CONFIG, **changes), ACTOR_CRITIC)
    return agent, jax.jit(agent.init)(jax.random.key(1), START, theta)


def frequencies(agent, state, count=20_000):
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), START)
    action, _ = jax.jit(agent.act)(state, many, jax.random.key(2))
    return np.bincount(np.asarray(action), minlength=ACTOR_CRITIC.num_items) / count


def frozen_logits(theta):
    return mask_shown(ACTOR_CRITIC.apply(theta, START.history).logits, START.shown)


def test_it_starts_as_the_pretrained_policy(theta):
    for weight in (0.5, 10.0):  # weights of the evidence; the evidence is still empty
        found = frequencies(*fresh(theta, evidence=weight))
        np.testing.assert_allclose(found, jax.nn.softmax(frozen_logits(theta)), atol=0.02)
    found = frequencies(*fresh(theta, temperature_factor=4.0))
    np.testing.assert_allclose(found, jax.nn.softmax(frozen_logits(theta) / 4), atol=0.02)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_answers_move_the_policy_by_their_weight(theta, weight):
    agent, state = fresh(theta, evidence=weight)
    answers = Answers(jnp.arange(16.0), jnp.full(16, 30.0))
    found = frequencies(agent, state._replace(memory=answers))
    expected = jax.nn.log_softmax(frozen_logits(theta)) + weight * evidence(answers)
    np.testing.assert_allclose(found, jax.nn.softmax(expected), atol=0.02)


def test_greedy_takes_the_mode(theta):
    agent, state = fresh(theta)
    action, _ = agent.act(state, START, jax.random.key(0), greedy=True)
    assert int(action) == int(act_on_logits(ACTOR_CRITIC, theta, START, jax.random.key(0), True)[0])


def test_features_are_directions_and_a_constant():
    seen = np.asarray(features(jnp.asarray([[3.0, 4.0], [0.0, 0.0]])))
    np.testing.assert_allclose(seen, [[0.6, 0.8, 1.0], [0.0, 0.0, 1.0]], atol=1e-6)


def test_evidence_is_the_shrunken_log_odds_against_all_items():
    none = Answers(jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_allclose(evidence(none), 0, atol=1e-6)
    likes, shown = np.array([0.0, 30.0, 2.0]), np.array([0.0, 40.0, 150.0])
    rate = (32 + 1) / (190 + 10)
    own = (likes + PRIOR * rate) / (shown + PRIOR)
    expected = np.log(own / (1 - own)) - np.log(rate / (1 - rate))
    found = evidence(Answers(jnp.asarray(likes), jnp.asarray(shown)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found[0] == pytest.approx(0, abs=1e-6)  # never recommended: as all are
    assert found[1] > 1
    assert found[2] < -1


def experience(agent, state):
    def run(state):
        users = start_users(ENV, world("two_tastes"), jax.random.key(3), 4)
        return collect(ENV, world("two_tastes"), agent, state, users, jax.random.key(3))[1]

    return jax.jit(run)(state)


def test_every_answer_is_counted(theta):
    batch = experience(*fresh(theta))
    before = Answers(jnp.ones(16), jnp.full(16, 2.0))
    after = with_answers(before, batch)
    for item in range(16):
        here = np.asarray(batch.action) == item
        assert float(after.shown[item]) == 2 + here.sum()
        assert float(after.likes[item]) == 1 + (np.asarray(batch.reward) > 0)[here].sum()
    assert float((after.likes - before.likes).sum()) > 0


def rewarded(batch, preferred):
    """Changes a batch: only ``preferred`` actions have a reward, and every step terminates its session."""
    return batch._replace(reward=preferred * 10.0, terminated=jnp.ones_like(batch.terminated))


def taken_above_average(scores, policy, action):
    """Whether the score of each action is above the mean score under the policy."""
    taken = jnp.take_along_axis(scores, action[..., None], -1)[..., 0]
    return taken > jnp.sum(policy * scores, -1)


@pytest.mark.parametrize("liked", ["preferred", "others"])
def test_trust_follows_what_the_pretrained_preferences_earn(theta, liked):
    agent, state = fresh(theta, learning_rate=0.1, slow_rate=0.0, entropy_cost=0.0)
    batch = experience(agent, state)
    observation = batch.observation
    logits = mask_shown(ACTOR_CRITIC.apply(theta, observation.history).logits, observation.shown)
    preferred = taken_above_average(jax.nn.log_softmax(logits), jax.nn.softmax(logits), batch.action)
    batch = rewarded(batch, preferred if liked == "preferred" else ~preferred)
    update = jax.jit(agent.update)
    for _ in range(3):
        after, metrics = update(state, batch, jax.random.key(0))
        state = after._replace(memory=state.memory)  # only trust changes
    trust = float(metrics["trust"])
    assert trust > 1.05 if liked == "preferred" else trust < 0.95
    assert float(metrics["trust_spread"]) > 0


@pytest.mark.parametrize("liked", ["preferred", "others"])
def test_the_weight_of_evidence_follows_what_it_earns(theta, liked):
    agent, state = fresh(theta, learning_rate=0.1, entropy_cost=0.0, evidence=2.0)
    answers = Answers(jnp.arange(16.0), jnp.full(16, 30.0))
    state = state._replace(memory=answers)
    batch = experience(agent, state)
    observation = batch.observation
    logits = jax.nn.log_softmax(ACTOR_CRITIC.apply(theta, observation.history).logits)
    policy = jax.nn.softmax(mask_shown(logits + 2.0 * evidence(answers), observation.shown))
    scores = jnp.broadcast_to(evidence(answers), policy.shape)
    preferred = taken_above_average(scores, policy, batch.action)
    batch = rewarded(batch, preferred if liked == "preferred" else ~preferred)
    update = jax.jit(agent.update)
    for _ in range(3):
        after, metrics = update(state, batch, jax.random.key(0))
        state = after._replace(memory=answers)
    weight = float(metrics["evidence"])
    assert weight > 2.05 if liked == "preferred" else weight < 1.95


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_an_update_moves_all_that_is_learned_the_pretrained_policy_slowly(theta, rate):
    agent, state = fresh(theta, slow_rate=rate)
    batch = experience(agent, state)
    after, _ = jax.jit(agent.update)(state, batch, jax.random.key(0))
    assert int(after.env_steps) == 20
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after.params, state.params)
    # If a gradient is not 0, Adam's first step has the size of the learning rate.
    assert max(jax.tree.leaves(moved.network)) == pytest.approx(CONFIG.learning_rate, rel=0.01)
    assert max(jax.tree.leaves(moved.theta)) == pytest.approx(rate * CONFIG.learning_rate, rel=0.01)
    assert moved.trust > 0
    assert moved.evidence == 0  # no answers, no gradient
    assert moved.network["params"]["actor"]["bias"] > 0
    assert moved.network["params"]["critic"]["Dense_0"]["kernel"] > 0
    later, _ = jax.jit(agent.update)(after, batch, jax.random.key(0))
    assert np.abs(later.params.evidence).max() > 0
