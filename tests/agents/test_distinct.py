import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, start_of, world

from ialp_jax.agents import distinct as module
from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.a2c_kl import a2c_kl
from ialp_jax.agents.config import GateConfig, JSRLConfig, KLConfig, MixtureConfig, PGConfig, WarmA2CConfig
from ialp_jax.agents.gate import gate
from ialp_jax.agents.jsrl import jsrl
from ialp_jax.agents.mixture import mixture
from ialp_jax.agents.pg import pg
from ialp_jax.training.rollout import collect, start_users

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="a GPU encodes all histories at once")
SIZE = {"num_users": 7, "rollout_length": 5}
AGENTS = {
    "a2c": a2c(WarmA2CConfig(**SIZE), ACTOR_CRITIC),
    "a2c_kl": a2c_kl(KLConfig(**SIZE), ACTOR_CRITIC, 1000),
    "pg": pg(PGConfig(**SIZE), ACTOR_CRITIC),
    "mixture": mixture(MixtureConfig(**SIZE), ACTOR_CRITIC, 1000),
    "gate": gate(GateConfig(**SIZE), ACTOR_CRITIC),
    "jsrl": jsrl(JSRLConfig(**SIZE), ACTOR_CRITIC, 1000),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of three histories, so that the last block of most rollouts is not full."""
    monkeypatch.setattr(module, "POSITIONS", 12)


@pytest.mark.parametrize("name", AGENTS)
def test_an_update_has_the_gradient_of_all_histories(name, monkeypatch):
    """The first moment of Adam after one update is the gradient, scaled."""
    agent = AGENTS[name]
    pretrained = jax.tree.map(
        lambda leaf: 2 * leaf, ACTOR_CRITIC.init(jax.random.key(3), start_of(0).history)
    )
    state = agent.init(jax.random.key(0), start_of(0), pretrained)
    users = start_users(ENV, world("coin_leaves"), jax.random.key(1), 7)

    def update():
        batch = collect(ENV, world("coin_leaves"), agent, state, users, jax.random.key(2))[1]
        after, metrics = agent.update(state, batch, jax.random.key(0))
        return after.opt_state, metrics

    compact = jax.jit(update)()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    whole = jax.jit(lambda: update())()
    assert compact[1]["gradient_norm"] > 1e-3
    for one, other in zip(jax.tree.leaves(compact), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_distinct_histories_of_each_user():
    history = np.random.default_rng(0).integers(0, 2, (5, 6, 2))
    places, count, rank = map(np.asarray, module.distinct(jnp.asarray(history)))
    expected, number = [], -1
    for user in range(5):
        for time in range(6):
            if time == 0 or (history[user, time] != history[user, time - 1]).any():
                expected.append(6 * user + time)
                number += 1
            assert rank[user, time] == number
    assert count == len(expected) < 30
    assert places[:count].tolist() == expected


def counted(calls):
    """A function that doubles each row, and appends to ``calls`` at each call."""

    def encode(params, embedded, real):
        jax.debug.callback(lambda: calls.append(1))
        return 2 * params * embedded[:, 0] * real

    return encode


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_only_the_first_blocks_are_encoded_and_differentiated(blocks):
    calls = []
    encode = counted(calls)
    embedded = jnp.arange(12.0).reshape(3, 4, 1, 1).at[blocks:].set(jnp.nan)
    real = jnp.ones((3, 4, 1), bool)

    def total(params, embedded, blocks):
        return module._in_blocks(encode, params, embedded, real, blocks).sum()

    value, gradient = jax.jit(jax.value_and_grad(total, (0, 1)))(3.0, embedded, blocks)
    jax.effects_barrier()
    assert value == 6 * sum(range(4 * blocks))
    assert gradient[0] == 2 * sum(range(4 * blocks))
    assert gradient[1].ravel().tolist() == [6.0] * 4 * blocks + [0.0] * 4 * (3 - blocks)
    assert len(calls) == 2 * blocks


def test_seeds_side_by_side_have_the_gradients_of_seeds_one_after_the_other():
    """The seeds have different numbers of distinct histories."""
    draw = np.random.default_rng(1)
    history = jnp.asarray(np.stack([draw.integers(1, most, (5, 7, 4)) for most in (2, 3, 9)]), jnp.int32)
    params = jax.vmap(lambda key: ACTOR_CRITIC.init(key, history[0, 0]))(
        jax.random.split(jax.random.key(0), 3)
    )

    def gradient(one):
        return jax.grad(lambda params: (module.encode_rollout(ACTOR_CRITIC, params, one[1]) ** 3).sum())(
            one[0]
        )

    beside, after = jax.jit(jax.vmap(gradient))((params, history)), jax.lax.map(gradient, (params, history))
    for one, other in zip(jax.tree.leaves(beside), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
