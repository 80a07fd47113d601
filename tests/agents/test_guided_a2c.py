"""Two agents combine A2C with a frozen policy: a2c_kl stays near it, and jsrl lets it act first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, HORIZON, LENGTH, start_of, world
from scipy import stats

from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.a2c_kl import a2c_kl, kl_cost
from ialp_jax.agents.base import frozen_state
from ialp_jax.agents.config import JSRLConfig, KLConfig, WarmA2CConfig
from ialp_jax.agents.ialp import ialp
from ialp_jax.agents.jsrl import guide_share, is_guided, jsrl
from ialp_jax.agents.losses import divergence
from ialp_jax.networks.heads import mask_shown
from ialp_jax.training.rollout import collect, start_users
from ialp_jax.types import Observation

START = start_of(0)
COMMON = {"num_users": 4, "rollout_length": 9, "trace": 1.0, "critic_start": "pretrained"}
TOTAL = 1000
logits_of = jax.jit(lambda p, o: mask_shown(ACTOR_CRITIC.apply(p, o.history).logits, o.shown))
value_of = jax.jit(lambda p, o: ACTOR_CRITIC.apply(p, o.history).value)


@pytest.fixture(scope="module")
def policies():
    """(frozen, learner): two policies that prefer different items."""
    init = jax.jit(ACTOR_CRITIC.init)
    return tuple(jax.tree.map(lambda leaf: 2 * leaf, init(jax.random.key(n), START.history)) for n in (0, 1))


def made(agent, policies, env_steps=0):
    """Returns the agent's update, and a state in which the learner differs from the frozen policy."""
    state = jax.jit(agent.init)(jax.random.key(0), START, policies[0])
    return jax.jit(agent.update), state._replace(params=policies[1], env_steps=jnp.int32(env_steps))


def met(agent, state, name="coin_leaves"):
    """Transitions [9, 4]."""

    def run(state):
        users = start_users(ENV, world(name), jax.random.key(1), 4)
        return collect(ENV, world(name), agent, state, users, jax.random.key(2))[1]

    return jax.jit(run)(state)


def test_divergence_against_scipy():
    p, q = np.random.default_rng(0).dirichlet(np.ones(5), (2, 3))
    found = divergence(jnp.log(p) + 3.0, jnp.log(q))
    np.testing.assert_allclose(found, [stats.entropy(a, b) for a, b in zip(p, q, strict=True)], rtol=1e-4)
    np.testing.assert_allclose(divergence(jnp.log(p), jnp.log(p)), 0, atol=1e-6)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_the_cost_of_leaving_the_frozen_policy_by_hand(policies, direction):
    """The loss is A2C's loss plus the weighted divergence. The weight decreases linearly."""
    config = KLConfig(**COMMON, kl_cost=0.8, kl_cost_end=0.2, kl_direction=direction)
    agent = a2c_kl(config, ACTOR_CRITIC, TOTAL)
    update, state = made(agent, policies, 500)
    batch = met(agent, state)
    after, metrics = update(state, batch, jax.random.key(0))
    plain = a2c(WarmA2CConfig(**COMMON, learning_rate=1e-3), ACTOR_CRITIC)
    start = plain.init(jax.random.key(0), START, policies[1])
    expected = jax.jit(plain.update)(start, batch, jax.random.key(0))[1]
    frozen, own = (np.asarray(jax.nn.softmax(logits_of(p, batch.observation))) for p in policies)
    first, second = (own, frozen) if direction == "reverse" else (frozen, own)
    held = first > 0
    apart = np.sum(
        np.where(held, first * np.log(np.where(held, first / np.where(held, second, 1), 1)), 0), -1
    )
    assert float(metrics["kl"]) == pytest.approx(apart.mean(), rel=1e-3)
    assert float(metrics["kl_cost"]) == pytest.approx(0.5)
    for name in ("actor_loss", "critic_loss", "entropy"):
        assert float(metrics[name]) == pytest.approx(float(expected[name]), rel=1e-3)
    assert float(metrics["loss"]) == pytest.approx(float(expected["loss"]) + 0.5 * apart.mean(), rel=1e-3)
    assert all(
        (a == b).all()
        for a, b in zip(jax.tree.leaves(after.memory), jax.tree.leaves(policies[0]), strict=True)
    )


def test_the_weight_decays_over_kl_steps():
    for steps, span, expected in ((0, 0, 0.8), (250, 0, 0.6), (250, 500, 0.4), (5000, 500, 0.0)):
        config = KLConfig(kl_cost=0.8, kl_steps=span)
        assert float(kl_cost(config, jnp.int32(steps), TOTAL)) == pytest.approx(expected, abs=1e-6)


def test_a_high_cost_pulls_the_learner_to_the_frozen_policy(policies):
    config = KLConfig(**COMMON, learning_rate=0.01, kl_cost=100.0, kl_cost_end=100.0)
    agent = a2c_kl(config, ACTOR_CRITIC, TOTAL)
    update, state = made(agent, policies)
    batch, apart = met(agent, state), []
    for number in range(20):
        state, metrics = update(state, batch, jax.random.key(number))
        apart.append(float(metrics["kl"]))
    assert apart[-1] < 0.3 * apart[0]


def test_the_guides_share_shrinks():
    for steps, span, expected in ((0, 0, 0.8), (500, 0, 0.5), (500, 500, 0.2), (9000, 0, 0.2)):
        config = JSRLConfig(guide_start=0.8, guide_end=0.2, guide_steps=span)
        assert float(guide_share(config, jnp.int32(steps), TOTAL)) == pytest.approx(expected)


def after_steps(count):
    shown = START.shown.at[LENGTH : LENGTH + count].set(jnp.arange(3, 3 + count))
    return Observation(START.history, shown)


def test_the_guide_acts_first_in_a_session():
    for share, first in ((0.0, 0), (0.5, HORIZON // 2), (0.6, 4), (1.0, HORIZON)):
        guided = [bool(is_guided(after_steps(count), share)) for count in range(HORIZON)]
        assert guided == [step < first for step in range(HORIZON)]


@pytest.mark.parametrize("steps_taken", [2, 3])
def test_acts_as_the_guide_and_then_as_the_learner(policies, steps_taken):
    agent = jsrl(JSRLConfig(**COMMON, guide_start=0.5), ACTOR_CRITIC, TOTAL)
    _, state = made(agent, policies)
    seen = after_steps(steps_taken)
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (500, *leaf.shape)), seen)
    guided = steps_taken < HORIZON // 2
    for greedy in (False, True):
        action, extras = jax.jit(agent.act, static_argnames="greedy")(
            state, rows, jax.random.key(3), greedy=greedy
        )
        alone = jax.jit(ialp(ACTOR_CRITIC).act, static_argnames="greedy")
        expected = [
            alone(frozen_state(p), rows, jax.random.key(3), greedy=greedy)[0]
            for p in (policies if guided else policies[::-1])
        ]
        assert (action == expected[0]).all()
        assert (action != expected[1]).any()
        assert (extras["guided"] == guided).all()
    assert not np.isin(np.asarray(action) + 1, np.asarray(seen.shown)).any()


def test_jump_start_losses_by_hand(policies):
    """The losses are means over the learner's own steps only, without those of the guide."""
    costs = {"value_cost": 0.4, "entropy_cost": 0.2}
    agent = jsrl(JSRLConfig(**COMMON, **costs, guide_start=0.5), ACTOR_CRITIC, TOTAL)
    update, state = made(agent, policies)
    batch = met(agent, state, "two_tastes")
    metrics = update(state, batch, jax.random.key(0))[1]
    guided = np.asarray(batch.extras["guided"])
    assert 0.2 < guided.mean() < 0.8
    values, beyond = (
        np.asarray(value_of(policies[1], o)) for o in (batch.observation, batch.next_observation)
    )
    returns, later = np.zeros(guided.shape), beyond[-1]
    for t in reversed(range(9)):
        later = np.where(batch.truncated[t], beyond[t], later)
        later = batch.reward[t] + 0.9 * np.where(batch.terminated[t], 0.0, later)
        returns[t] = later
    policy = np.asarray(jax.nn.log_softmax(logits_of(policies[1], batch.observation)))
    chosen = np.take_along_axis(policy, np.asarray(batch.action)[..., None], -1)[..., 0]
    own = ~guided
    actor = -np.mean(((returns - values) * chosen)[own])
    critic = 0.5 * np.mean(((returns - values) ** 2)[own])
    bonus = -np.mean(np.sum(np.exp(policy) * policy, -1)[own])
    assert float(metrics["actor_loss"]) == pytest.approx(actor, rel=1e-3)
    assert float(metrics["critic_loss"]) == pytest.approx(critic, rel=1e-3)
    assert float(metrics["entropy"]) == pytest.approx(bonus, rel=1e-3)
    assert float(metrics["loss"]) == pytest.approx(actor + 0.4 * critic - 0.2 * bonus, rel=1e-3)
    assert float(metrics["guided"]) == pytest.approx(guided.mean())


def test_a_rollout_of_the_guide_alone_teaches_nothing(policies):
    agent = jsrl(JSRLConfig(**COMMON, guide_start=1.0), ACTOR_CRITIC, TOTAL)
    update, state = made(agent, policies)
    after, metrics = update(state, met(agent, state), jax.random.key(0))
    assert float(metrics["guided"]) == 1.0
    for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(policies[1]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_where_the_learner_starts(policies):
    for start in ("pretrained", "random"):
        agent = jsrl(JSRLConfig(**COMMON, start=start), ACTOR_CRITIC, TOTAL)
        state = jax.jit(agent.init)(jax.random.key(0), START, policies[0])
        same = bool((logits_of(state.params, START) == logits_of(policies[0], START)).all())
        assert same == (start == "pretrained")
