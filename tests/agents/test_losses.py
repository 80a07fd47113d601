import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ialp_jax.agents.losses import entropy, generalised_advantages, log_prob, q_target, reward_to_go

GAMMA, LAMBDA = 0.9, 0.8
# One session terminates at step 1, one is truncated at step 3, and one continues.
REWARDS = np.array([1.0, 0.0, 2.0, 1.0, 0.5, 1.0])
VALUES = np.array([0.3, 0.7, 1.1, -0.4, 0.6, 0.2])
NEXT = np.array([0.7, 9.0, -0.4, 0.8, 0.2, 0.5])  # 9.0: the loss must ignore the value after a termination
TERMINATED = np.array([0, 1, 0, 0, 0, 0], bool)
TRUNCATED = np.array([0, 0, 0, 1, 0, 0], bool)


def gae(trace, gamma=GAMMA):
    arrays = [jnp.asarray(a, jnp.float32) for a in (REWARDS, VALUES, NEXT)]
    return generalised_advantages(*arrays, jnp.asarray(TERMINATED), jnp.asarray(TRUNCATED), gamma, trace)


def test_generalised_advantages_by_hand():
    d0, d1 = 1 + 0.9 * 0.7 - 0.3, 0 - 0.7
    d2, d3 = 2 - 0.9 * 0.4 - 1.1, 1 + 0.9 * 0.8 + 0.4
    d4, d5 = 0.5 + 0.9 * 0.2 - 0.6, 1 + 0.9 * 0.5 - 0.2
    keep = GAMMA * LAMBDA
    expected = [d0 + keep * d1, d1, d2 + keep * d3, d3, d4 + keep * d5, d5]
    np.testing.assert_allclose(gae(LAMBDA), expected, rtol=1e-5)


def test_trace_0_is_the_one_step_error():
    expected = REWARDS + GAMMA * NEXT * ~TERMINATED - VALUES
    np.testing.assert_allclose(gae(0.0), expected, rtol=1e-5)


def test_trace_1_is_monte_carlo_minus_the_value():
    ends = TERMINATED | TRUNCATED
    ends[-1] = True
    beyond = np.where(TERMINATED, 0.0, NEXT)
    returns, later = np.zeros(6), 0.0
    for t in reversed(range(6)):
        later = REWARDS[t] + GAMMA * (beyond[t] if ends[t] else later)
        returns[t] = later
    np.testing.assert_allclose(gae(1.0), returns - VALUES, rtol=1e-5)


def test_advantages_of_one_session_do_not_reach_the_one_before():
    def first(rewards):
        arrays = (rewards, jnp.asarray(VALUES), jnp.asarray(NEXT))
        out = generalised_advantages(*arrays, jnp.asarray(TERMINATED), jnp.asarray(TRUNCATED), 0.9, 0.9)
        return out[:4].sum()

    assert (jax.grad(first)(jnp.asarray(REWARDS))[4:] == 0).all()


def test_rank_errors_are_refused():
    with pytest.raises(AssertionError):
        generalised_advantages(*[jnp.zeros((2, 3))] * 5, 0.9, 0.9)


def test_reward_to_go_by_hand():
    ended = jnp.asarray(TERMINATED | TRUNCATED)
    bootstrap = jnp.asarray(np.where(TRUNCATED, 4.0, 0.0), jnp.float32)
    returns, complete = reward_to_go(jnp.asarray(REWARDS, jnp.float32), ended, bootstrap, GAMMA)
    third = 1 + 0.9 * 4
    np.testing.assert_allclose(returns[:4], [1.0, 0.0, 2 + 0.9 * third, third], rtol=1e-6)
    assert complete.tolist() == [True, True, True, True, False, False]


def test_q_target_picks_with_one_network_and_values_with_the_other():
    online, target = jnp.array([0.0, 5.0, 1.0]), jnp.array([9.0, 2.0, 7.0])
    one, reward = jnp.bool_(True), jnp.float32(0.5)
    assert float(q_target(reward, ~one, online, target, 0.9)) == pytest.approx(0.5 + 0.9 * 2.0)
    assert float(q_target(reward, one, online, target, 0.9)) == 0.5
    gradients = jax.grad(lambda r, o, t: q_target(r, ~one, o, t, 0.9), argnums=(0, 1, 2))(
        reward, online, target
    )
    assert all(float(jnp.abs(g).sum()) == 0 for g in gradients)


def test_entropy_and_log_prob():
    policy = np.array([0.5, 0.25, 0.25])
    logits = jnp.asarray(np.log(policy) + 3.0, jnp.float32)
    assert float(entropy(logits)) == pytest.approx(1.5 * np.log(2), rel=1e-5)
    masked = jnp.append(logits, -1e9)
    assert float(entropy(masked)) == pytest.approx(1.5 * np.log(2), rel=1e-5)
    rows = jnp.tile(logits, (3, 1))
    np.testing.assert_allclose(log_prob(rows, jnp.arange(3)), np.log(policy), rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: entropy(x))(masked)).all()
