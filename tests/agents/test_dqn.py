import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ITEMS, Q_NETWORK, start_of

from ialp_jax.agents.config import DQNConfig
from ialp_jax.agents.dqn import dqn, epsilon
from ialp_jax.networks.heads import MASKED, mask_shown
from ialp_jax.types import Observation, Transition

CONFIG = DQNConfig(
    num_users=1, rollout_length=1, batch_size=4, gradient_steps=1, capacity=8, target_rate=0.25, discount=0.9
)
AGENT = dqn(CONFIG, Q_NETWORK)
START = start_of(0)
NEXT = Observation(jnp.array([0, 0, 1, 6]), START.shown.at[4].set(6))
update, act = jax.jit(AGENT.update), jax.jit(AGENT.act, static_argnames="greedy")
apply = jax.jit(Q_NETWORK.apply)


@pytest.fixture(scope="module")
def state():
    """A state whose target network differs from its online network."""
    init = jax.jit(AGENT.init)
    first, second = (init(jax.random.key(n), START) for n in (0, 1))
    scaled = jax.tree.map(lambda leaf: 5 * leaf, (first.params, second.params))
    return first._replace(params=scaled[0], memory=first.memory._replace(target=scaled[1]))


def step(terminated, truncated, reward=0.5):
    one = Transition(
        START, jnp.int32(5), jnp.float32(reward), jnp.bool_(terminated), jnp.bool_(truncated), NEXT, {}
    )
    return jax.tree.map(lambda leaf: leaf[None, None], one)


@pytest.mark.parametrize(("terminated", "truncated"), [(True, False), (False, False), (False, True)])
def test_loss_by_hand(state, terminated, truncated):
    _, metrics = update(state, step(terminated, truncated), jax.random.key(0))
    chosen = float(apply(state.params, START.history)[5])
    online = mask_shown(apply(state.params, NEXT.history), NEXT.shown)
    beyond = float(apply(state.memory.target, NEXT.history)[int(online.argmax())])
    target = 0.5 if terminated else 0.5 + 0.9 * beyond
    error = abs(chosen - target)
    huber = 0.5 * error**2 if error <= 1 else error - 0.5
    assert float(metrics["loss"]) == pytest.approx(huber, rel=1e-3)
    assert float(metrics["q"]) == pytest.approx(chosen, rel=1e-3)


def test_target_network_follows_slowly(state):
    after, _ = update(state, step(False, False), jax.random.key(0))
    for old, new, target in zip(
        *(jax.tree.leaves(tree) for tree in (state.memory.target, after.params, after.memory.target)),
        strict=True,
    ):
        np.testing.assert_allclose(target, 0.75 * old + 0.25 * new, atol=1e-6)
    moved = zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True)
    assert any((a != b).any() for a, b in moved)
    assert int(after.env_steps) == 1


def test_epsilon_falls_linearly_then_stays():
    config = DQNConfig(epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=1000)
    found = [float(epsilon(config, jnp.int32(steps))) for steps in (0, 250, 1000, 50_000)]
    np.testing.assert_allclose(found, [0.9, 0.7, 0.1, 0.1], rtol=1e-5)


def test_explores_evenly_among_what_was_not_shown(state):
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (8000, *leaf.shape)), NEXT)
    best = int(mask_shown(apply(state.params, NEXT.history), NEXT.shown).argmax())
    drawn = np.bincount(act(state, rows, jax.random.key(0))[0], minlength=ITEMS)
    assert drawn[0] == drawn[5] == 0  # items 1 and 6
    assert (np.delete(drawn, [0, 5]) > 450).all()  # expected count 571, standard deviation 23
    assert (act(state, rows, jax.random.key(0), greedy=True)[0] == best).all()
    late = state._replace(env_steps=jnp.int32(10**6))
    share = np.mean(np.asarray(act(late, rows, jax.random.key(1))[0]) == best)
    assert share == pytest.approx(1 - CONFIG.epsilon_end * 13 / 14, abs=0.01)


def test_shown_items_are_never_the_best(state):
    bias = jax.tree.map(jnp.zeros_like, state.params)
    heads = bias["params"]
    high = {"params": {**heads, "ItemHead_0": {**heads["ItemHead_0"], "bias": jnp.arange(ITEMS, 0, -1.0)}}}
    action, _ = act(state._replace(params=high), NEXT, jax.random.key(0), greedy=True)
    assert int(action) == 1  # item 1 has the highest score, but was shown before
    assert float(mask_shown(jnp.zeros(ITEMS), NEXT.shown)[0]) == MASKED
