import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, start_of, world
from scipy import stats

from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.config import MixtureConfig, WarmA2CConfig
from ialp_jax.agents.ialp import ialp
from ialp_jax.agents.mixture import alpha, log_mixture, mixture
from ialp_jax.networks.heads import MASKED, mask_shown
from ialp_jax.training.rollout import collect, start_users

START = start_of(0)
COSTS = {
    "learning_rate": 3e-3,
    "critic_start": "pretrained",
    "trace": 0.0,
    "value_cost": 0.0,
    "entropy_cost": 0.0,
}
BASE = MixtureConfig(num_users=4, rollout_length=5, schedule="constant", max_ratio=1.5, **COSTS)
apply = jax.jit(ACTOR_CRITIC.apply)
logits_of = jax.jit(lambda p, o: mask_shown(ACTOR_CRITIC.apply(p, o.history).logits, o.shown))


@pytest.fixture(scope="module")
def policies():
    """(theta, beta): parameters of two policies that prefer different items."""
    init = jax.jit(ACTOR_CRITIC.init)

    def strong(seed):
        return jax.tree.map(lambda leaf: 2 * leaf, init(jax.random.key(seed), START.history))

    return strong(0), strong(1)


def make(policies, total=1000, **changes):
    """Returns the agent, and a state in which theta and beta differ."""
    agent = mixture(dataclasses.replace(BASE, **changes), ACTOR_CRITIC, total)
    theta, beta = policies
    state = jax.jit(agent.init)(jax.random.key(0), START, theta)
    return agent, state._replace(params=beta)


def difference(one, two):
    """The largest absolute difference between the entries of two parameter trees."""
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return max(float(jnp.abs(a - b).max()) for a, b in leaves)


@pytest.fixture(scope="module")
def experience(policies):
    """Transitions [5, 4] in the world of two tastes, and their log-probabilities under both policies."""
    agent, state = make(policies, alpha_start=0.5)

    def run(state):
        users = start_users(ENV, world("two_tastes"), jax.random.key(1), 4)
        return collect(ENV, world("two_tastes"), agent, state, users, jax.random.key(2))[1]

    batch = jax.jit(run)(state)
    chosen = np.asarray(batch.action)[..., None]
    theta, beta = (
        np.take_along_axis(np.asarray(jax.nn.log_softmax(logits_of(p, batch.observation))), chosen, -1)[
            ..., 0
        ]
        for p in policies
    )
    np.testing.assert_allclose(batch.extras["theta_log_prob"], theta, atol=1e-4)
    return batch, theta, beta


def acted_at(batch, share):
    """A copy of the experience in which alpha is always ``share``."""
    return batch._replace(extras={**batch.extras, "alpha": jnp.full((5, 4), share, jnp.float32)})


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.1, 0.3, 0.5, 0.9, 0.9]),
        ("cosine", [0.1, 0.21716, 0.5, 0.9, 0.9]),
        ("constant", [0.1] * 5),
        ("evidence", [0.1, 0.1 + 0.8 / 5, 0.1 + 0.8 / 3, 0.5, 0.1 + 0.8 * 25 / 27]),
    ],
)
def test_alpha_runs_from_start_to_end(schedule, expected):
    config = MixtureConfig(schedule=schedule, alpha_start=0.1, alpha_end=0.9, alpha_steps=400)
    steps = (0, 100, 200, 400, 5000)
    np.testing.assert_allclose([float(alpha(config, jnp.int32(s), 99)) for s in steps], expected, atol=1e-4)
    whole = dataclasses.replace(config, alpha_steps=0)  # 0: all of the adaptation
    np.testing.assert_allclose(
        [float(alpha(whole, jnp.int32(2 * s), 800)) for s in steps], expected, atol=1e-4
    )


def test_log_mixture_against_numpy():
    random = np.random.default_rng(0)
    theta, beta = np.log(random.dirichlet(np.ones(5), (2, 3)))
    for share in (0.0, 0.01, 0.5, 1.0):
        found = log_mixture(jnp.asarray(theta), jnp.asarray(beta), jnp.float32(share))
        expected = np.log((1 - share) * np.exp(theta) + share * np.exp(beta))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.isfinite(jax.grad(lambda b: log_mixture(-1.0, b, 0.0))(-2.0))


@pytest.mark.parametrize(("share", "who"), [(0.0, 0), (1.0, 1)])
def test_acts_as_one_policy_at_each_end(policies, share, who):
    agent, state = make(policies, alpha_start=share)
    alone = ialp(ACTOR_CRITIC)
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2000, *leaf.shape)), START)
    mixed, extras = jax.jit(agent.act)(state, rows, jax.random.key(5))
    key = jax.random.key(5)
    expected, _ = jax.jit(alone.act)(alone.init(jax.random.key(0), START, policies[who]), rows, key)
    other, _ = jax.jit(alone.act)(alone.init(jax.random.key(0), START, policies[1 - who]), rows, key)
    np.testing.assert_array_equal(mixed, expected)
    assert np.mean(np.asarray(mixed == other)) < 0.9
    assert (extras["alpha"] == share).all()
    theta = jax.nn.log_softmax(logits_of(policies[0], START))
    np.testing.assert_allclose(extras["theta_log_prob"], theta[mixed], atol=1e-4)


def test_acts_as_the_mixture_in_between(policies):
    agent, state = make(policies, schedule="linear", alpha_steps=100, alpha_start=0.0, alpha_end=1.0)
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (50_000, *leaf.shape)), START)
    drawn, _ = jax.jit(agent.act)(state._replace(env_steps=jnp.int32(30)), rows, jax.random.key(5))
    theta, beta = (np.asarray(jax.nn.softmax(logits_of(p, START)), np.float64) for p in policies)
    probability = 0.7 * theta + 0.3 * beta
    counts = np.bincount(drawn, minlength=ITEMS)
    seen = probability > 0
    assert counts[~seen].sum() == 0
    expected = counts.sum() * probability[seen] / probability[seen].sum()
    assert stats.chisquare(counts[seen], expected).pvalue > 1e-3
    act = jax.jit(agent.act, static_argnames="greedy")
    greedy, _ = act(state._replace(env_steps=jnp.int32(30)), START, jax.random.key(5), greedy=True)
    assert int(greedy) == int(probability.argmax())


@pytest.fixture(scope="module")
def updates(policies):
    """For both gradients: (update, a state in which theta and beta differ)."""
    found = {}
    for gradient in ("mixture", "importance"):
        agent, state = make(policies, gradient=gradient)
        found[gradient] = jax.jit(agent.update), state
    return found


def test_the_mixtures_gradient_is_nought_at_alpha_0(policies, experience, updates):
    batch = acted_at(experience[0], 0.0)
    update, state = updates["mixture"]
    after, metrics = update(state, batch, jax.random.key(0))
    assert float(metrics["gradient_norm"]) < 1e-12
    assert difference(after.params, state.params) == 0
    update, state = updates["importance"]
    after, metrics = update(state, batch, jax.random.key(0))
    assert float(metrics["gradient_norm"]) > 1e-6
    assert difference(after.params, state.params) > 1e-5
    assert difference(after.memory, policies[0]) == 0


def test_both_gradients_are_on_policy_at_alpha_1(policies, experience, updates):
    plain = a2c(WarmA2CConfig(num_users=4, rollout_length=5, **COSTS), ACTOR_CRITIC)
    start = plain.init(jax.random.key(0), START, policies[1])
    expected, on_policy = jax.jit(plain.update)(start, experience[0], jax.random.key(0))
    for update, state in updates.values():
        after, metrics = update(state, acted_at(experience[0], 1.0), jax.random.key(0))
        for name, value in on_policy.items():
            assert float(metrics[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-5), name
        assert float(metrics["ratio"]) == pytest.approx(1.0, abs=1e-4)
        assert difference(after.params, expected.params) < 1e-4


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_losses_by_hand(policies, experience, updates, share):
    batch, theta, beta = experience
    mixed = (1 - share) * np.exp(theta) + share * np.exp(beta)
    ratio = np.exp(beta) / mixed
    value = np.asarray(apply(policies[1], batch.observation.history).value)
    beyond = np.asarray(apply(policies[1], batch.next_observation.history).value)
    advantage = np.asarray(batch.reward) + BASE.discount * beyond * ~np.asarray(batch.terminated) - value
    assert (ratio > BASE.max_ratio).any()  # otherwise the test would not check the clipping
    expected = {
        "importance": -np.mean(np.minimum(ratio, BASE.max_ratio) * advantage * beta),
        "mixture": -np.mean(advantage * np.log(mixed)),
    }
    for gradient, (update, state) in updates.items():
        _, metrics = update(state, acted_at(batch, share), jax.random.key(0))
        assert float(metrics["actor_loss"]) == pytest.approx(expected[gradient], rel=1e-3)
        assert float(metrics["ratio"]) == pytest.approx(ratio.mean(), rel=1e-3)
        assert float(metrics["alpha"]) == pytest.approx(share)


def test_where_beta_starts(policies):
    theta, _ = policies
    for start in ("pretrained", "random"):
        agent = mixture(dataclasses.replace(BASE, start=start), ACTOR_CRITIC, 100)
        state = jax.jit(agent.init)(jax.random.key(0), START, theta)
        assert difference(state.memory, theta) == 0
        assert (difference(state.params, theta) == 0) == (start == "pretrained")
    soft = mixture(dataclasses.replace(BASE, temperature_factor=4.0), ACTOR_CRITIC, 100)
    state = jax.jit(soft.init)(jax.random.key(0), START, theta)
    assert difference(state.memory, theta) == 0
    softened, sharp = (logits_of(params, START) for params in (state.params, theta))
    possible = sharp > MASKED / 2
    np.testing.assert_array_equal(softened[possible], sharp[possible] / 4)
    agent = mixture(dataclasses.replace(BASE, critic_start="random"), ACTOR_CRITIC, 100)
    params = jax.jit(agent.init)(jax.random.key(0), START, theta).params
    np.testing.assert_array_equal(logits_of(params, START), logits_of(theta, START))
    assert difference(params["params"]["critic"], theta["params"]["critic"]) > 0
