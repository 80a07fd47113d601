"""The adaptive gate: what it believes of states, from which evidence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, start_of, world
from scipy import stats

from ialp_jax.agents.config import GateConfig
from ialp_jax.agents.gate import FLOOR, PRIOR, Evidence, belief, features, gate, gathered
from ialp_jax.errors import InputError
from ialp_jax.networks.heads import mask_shown
from ialp_jax.training.rollout import collect, start_users

START = start_of(0)
CONFIG = GateConfig(num_users=4, rollout_length=5, critic_start="pretrained")
EMPTY = Evidence(jnp.zeros((3, 3)), jnp.zeros(3), jnp.float32(0), jnp.float32(0))


def rows(count, seed=0):
    """States on two sides: x0 > 0 and x0 < 0, and the constant."""
    generator = np.random.default_rng(seed)
    return features(jnp.asarray(generator.normal(size=(1, count, 2)), jnp.float32)), generator


def test_the_posterior_is_that_of_ridge_regression_with_a_normal_prior():
    seen, generator = rows(200)
    y = np.asarray(seen[0, :, 0]) * 0.4 - 0.1 + generator.normal(size=200) * 0.5
    evidence = gathered(EMPTY, seen, jnp.asarray(y)[None], half_life=10**9)
    x = np.asarray(seen[0], np.float64)
    inverse = np.linalg.inv(x.T @ x + PRIOR * np.eye(3))
    mean = inverse @ x.T @ y
    noise = (y @ y - mean @ x.T @ y) / 200
    for caution in (1.0, 3.0):
        asked = x[:7]
        spread = np.sqrt(noise * np.einsum("ni,ij,nj->n", asked, inverse, asked))
        expected = stats.norm.cdf(asked @ mean / (caution * spread)).clip(FLOOR, 1 - FLOOR)
        np.testing.assert_allclose(belief(evidence, seen[0, :7], caution), expected, atol=2e-3)


def test_without_evidence_both_are_believed_alike():
    seen, _ = rows(5)
    np.testing.assert_allclose(belief(EMPTY, seen, 1.0), 0.5, atol=1e-6)
    nothing = gathered(EMPTY, seen, jnp.zeros((1, 5)), 100)  # as long as the policies are equal
    np.testing.assert_allclose(belief(nothing, seen, 1.0), 0.5, atol=1e-6)


def test_it_tells_states_apart():
    seen, generator = rows(2000)
    y = np.sign(seen[0, :, 0]) * 0.3 + generator.normal(size=2000)
    share = np.asarray(belief(gathered(EMPTY, seen, jnp.asarray(y)[None], 10**6), seen[0], 1.0))
    side = np.asarray(seen[0, :, 0])
    assert (share[side > 0.3] > 0.9).all()
    assert (share[side < -0.3] < 0.1).all()


def test_old_evidence_fades():
    seen, _ = rows(1000)
    good = gathered(EMPTY, seen, jnp.ones((1, 1000)), half_life=1000)
    assert float(good.steps) == pytest.approx(1000)
    later = gathered(good, seen, -jnp.ones((1, 1000)), half_life=1000)
    assert float(later.steps) == pytest.approx(1500)
    np.testing.assert_allclose(later.moment, np.asarray(good.moment) * 0.5 - np.asarray(good.moment))


def policies():
    init = jax.jit(ACTOR_CRITIC.init)
    return [jax.tree.map(lambda leaf: 2 * leaf, init(jax.random.key(k), START.history)) for k in (0, 1)]


def test_the_differences_are_unbiased():
    """Against the sum over all items: E_beta[A] - E_theta[A] of an advantage that we choose."""
    agent = gate(CONFIG, ACTOR_CRITIC)
    theta, beta = policies()
    state = jax.jit(agent.init)(jax.random.key(0), START, theta)._replace(params=beta)
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (40_000, *leaf.shape)), START)
    action, extras = jax.jit(agent.act)(state, many, jax.random.key(1))
    worth = np.linspace(-1.0, 2.0, ACTOR_CRITIC.num_items)
    probs = [
        np.asarray(jax.nn.softmax(mask_shown(ACTOR_CRITIC.apply(p, START.history).logits, START.shown)))
        for p in (theta, beta)
    ]
    share = float(extras["alpha"][0])
    mixed = (1 - share) * probs[0] + share * probs[1]
    one, two = (np.exp(np.asarray(extras[name], np.float64)) for name in ("beta_log_prob", "theta_log_prob"))
    taken = np.asarray(action)
    samples = (one - two) / mixed[taken] * worth[taken]
    error = 4 * samples.std() / np.sqrt(len(samples))
    assert samples.mean() == pytest.approx((probs[1] - probs[0]) @ worth, abs=error)
    np.testing.assert_allclose(
        np.bincount(taken, minlength=len(worth)) / len(taken), mixed, atol=4 * 0.5 / np.sqrt(len(taken))
    )


def step(agent, state, key):
    def run(state):
        users = start_users(ENV, world("two_tastes"), key, 4)
        return collect(ENV, world("two_tastes"), agent, state, users, key)[1]

    batch = jax.jit(run)(state)
    return batch, *jax.jit(agent.update)(state, batch, key)


def test_an_update_gathers_evidence_and_leaves_the_frozen_policy():
    agent = gate(CONFIG, ACTOR_CRITIC)
    theta, beta = policies()
    state = jax.jit(agent.init)(jax.random.key(0), START, theta)
    jax.tree.map(np.testing.assert_array_equal, state.params, theta)  # pi_beta starts there
    batch, after, metrics = step(agent, state._replace(params=beta), jax.random.key(3))
    np.testing.assert_allclose(batch.extras["alpha"], 0.5, atol=1e-6)
    assert float(metrics["difference"]) != 0
    assert float(after.memory.evidence.steps) == 20
    assert int(after.env_steps) == 20
    assert np.abs(np.asarray(after.memory.evidence.moment)).max() > 0
    jax.tree.map(np.testing.assert_array_equal, after.memory.theta, theta)
    changed = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after.params, beta)
    assert max(jax.tree.leaves(changed)) > 0


def test_what_harms_is_left_to_the_frozen_policy():
    """pi_beta gets the worst advantages that its own actions could have."""
    agent = gate(dataclasses.replace(CONFIG, learning_rate=1e-9), ACTOR_CRITIC)
    theta, beta = policies()
    state = jax.jit(agent.init)(jax.random.key(0), START, theta)._replace(params=beta)
    batch, _, _ = step(agent, state, jax.random.key(3))
    likelier = batch.extras["beta_log_prob"] > batch.extras["theta_log_prob"]
    ended = jnp.ones_like(batch.terminated)
    update = jax.jit(agent.update)
    shares = {}
    for name, reward in (("harms", ~likelier), ("helps", likelier)):
        now = state
        for _ in range(30):
            now, _ = update(now, batch._replace(reward=reward * 1.0, terminated=ended), jax.random.key(0))
        shares[name] = float(jax.jit(agent.act)(now, START, jax.random.key(0))[1]["alpha"])
    assert shares["harms"] < 0.1
    assert shares["helps"] > 0.9


@pytest.mark.parametrize("changes", [{"half_life": 0}, {"caution": 0.0}, {"trace": 2.0}])
def test_impossible_settings_are_refused(changes):
    with pytest.raises(InputError, match=r"--config\.agents\.gate"):
        GateConfig(**changes).check()
