import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, HORIZON, start_of

from ialp_jax.agents.config import PGConfig
from ialp_jax.agents.pg import pg
from ialp_jax.networks.heads import mask_shown
from ialp_jax.types import Observation, Transition

USERS, STEPS = 3, 4
CONFIG = PGConfig(num_users=USERS, rollout_length=STEPS, discount=0.8, entropy_cost=0.0)
AGENT = pg(CONFIG, ACTOR_CRITIC)
WINDOW = STEPS + HORIZON
init, update = jax.jit(AGENT.init), jax.jit(AGENT.update)


def sessions(seed, total):
    """Draws consecutive sessions of 1..H steps; returns terminated, truncated and reward, each [total, B]."""
    random = np.random.default_rng(seed)
    terminated, truncated = np.zeros((2, total, USERS), bool)
    for user in range(USERS):
        end = -1
        while (end := end + random.integers(1, HORIZON + 1)) < total:
            (terminated if random.random() < 0.5 else truncated)[end, user] = True
    return terminated, truncated, random.random((total, USERS)).astype(np.float32)


def transitions(terminated, truncated, reward):
    """Transitions with these flags and rewards. Their observations differ from step to step."""
    shape = reward.shape
    count = np.arange(reward.size, dtype=np.int32).reshape(shape)
    history = np.stack([np.zeros_like(count), 1 + count % 3, 4 + count % 5, 9 + count % 2], -1)
    shown = np.pad(history, [(0, 0), (0, 0), (0, HORIZON)]).astype(np.int32)
    seen = Observation(history.astype(np.int32), shown)
    later = Observation(history[..., ::-1].astype(np.int32), shown)
    return Transition(seen, 11 + count % 4, reward, terminated, truncated, later, {})


def ended_now(ended, first, last):
    """Counts the steps of all sessions whose last step is one of first..last - 1."""
    count = 0
    for user in range(USERS):
        ends = np.flatnonzero(ended[:, user])
        starts = np.concatenate([[-1], ends[:-1]])
        count += sum(end - start for start, end in zip(starts, ends, strict=True) if first <= end < last)
    return count


@pytest.mark.parametrize("seed", range(6))
def test_each_step_is_learned_once_when_its_session_ends(seed):
    total = 8 * STEPS
    terminated, truncated, reward = sessions(seed, total)
    state = init(jax.random.key(0), start_of(0))
    for first in range(0, total, STEPS):
        part = slice(first, first + STEPS)
        state, metrics = update(
            state, transitions(terminated[part], truncated[part], reward[part]), jax.random.key(1)
        )
        learned = float(metrics["complete"]) * WINDOW * USERS
        assert learned == pytest.approx(ended_now(terminated | truncated, first, first + STEPS), abs=1e-3)
    assert int(state.env_steps) == total * USERS


def test_the_longest_session_that_straddles_rollouts_is_whole():
    terminated, truncated = np.zeros((2, 3 * STEPS, USERS), bool)
    truncated[3 + np.array([0, HORIZON])] = True  # the last steps of two sessions
    reward = np.ones(terminated.shape, np.float32)
    state, learned = init(jax.random.key(0), start_of(0)), []
    for first in range(0, 3 * STEPS, STEPS):
        part = slice(first, first + STEPS)
        state, metrics = update(
            state, transitions(terminated[part], truncated[part], reward[part]), jax.random.key(1)
        )
        learned.append(round(float(metrics["complete"]) * WINDOW))
    assert learned == [4, 0, HORIZON]


def test_losses_by_hand_over_two_rollouts():
    """A truncated session of 6 steps spans both rollouts. Its return includes V after the last step."""
    terminated, truncated, reward = sessions(0, 2 * STEPS)
    terminated[:], truncated[:] = False, False
    truncated[5, 0] = True
    batches = [
        transitions(terminated[p], truncated[p], reward[p]) for p in (slice(0, STEPS), slice(STEPS, None))
    ]
    state = init(jax.random.key(0), start_of(0))
    state, _ = update(state, batches[0], jax.random.key(0))
    _, metrics = update(state, batches[1], jax.random.key(0))

    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:6, 0], *batches)
    apply = jax.jit(ACTOR_CRITIC.apply)
    output = apply(state.params, joined.observation.history)
    beyond = apply(state.params, joined.next_observation.history).value[5]
    returns, later = np.zeros(6), float(beyond)
    for t in reversed(range(6)):
        later = returns[t] = joined.reward[t] + 0.8 * later
    policy = np.asarray(jax.nn.log_softmax(mask_shown(output.logits, jnp.asarray(joined.observation.shown))))
    chosen = policy[np.arange(6), joined.action]
    values = np.asarray(output.value)
    assert float(metrics["actor_loss"]) == pytest.approx(-np.mean((returns - values) * chosen), rel=1e-3)
    assert float(metrics["critic_loss"]) == pytest.approx(0.5 * np.mean((returns - values) ** 2), rel=1e-3)
    entropy = -np.mean(np.sum(np.exp(policy) * policy, -1))
    assert float(metrics["entropy"]) == pytest.approx(entropy, rel=1e-3)
    assert float(metrics["value"]) == pytest.approx(values.mean(), rel=1e-3)


def test_steps_that_are_not_learned_do_not_matter():
    """Two users have the same ended session. The steps of the third user change nothing."""
    batch = transitions(*(flags & False for flags in sessions(3, STEPS)[:2]), sessions(3, STEPS)[2])
    batch.terminated[2, :2] = True
    other = jax.tree.map(np.copy, batch)
    other.observation.history[:, 2] = other.observation.history[::-1, 2]
    other.reward[:, 2] += 1.0
    after = [
        update(init(jax.random.key(0), start_of(0)), one, jax.random.key(1))[1] for one in (batch, other)
    ]
    for name in ("loss", "critic_loss", "entropy", "gradient_norm"):
        assert float(after[0][name]) == float(after[1][name]), name


def test_nothing_is_learned_before_a_session_ends():
    terminated, truncated, reward = sessions(1, STEPS)
    batch = transitions(terminated & False, truncated & False, reward)
    before = init(jax.random.key(0), start_of(0))
    after, metrics = update(before, batch, jax.random.key(0))
    assert float(metrics["complete"]) == 0
    assert float(metrics["gradient_norm"]) < 1e-6
    for old, new in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6)
