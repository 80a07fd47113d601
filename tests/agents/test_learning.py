"""Trains every learning agent from scratch in worlds whose optimal returns and values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import (
    ACTOR_CRITIC,
    BEST_RETURN,
    DISCOUNT,
    ENV,
    ITEMS,
    NAMES,
    Q_NETWORK,
    VALUE,
    stacked,
    start_of,
    start_states,
    train,
)

from ialp_jax.agents.a2c import a2c
from ialp_jax.agents.a2c_kl import a2c_kl
from ialp_jax.agents.config import (
    A2CConfig,
    DQNConfig,
    GateConfig,
    JSRLConfig,
    KLConfig,
    MixtureConfig,
    PEXConfig,
    PGConfig,
    RLPDConfig,
    WSRLConfig,
)
from ialp_jax.agents.dqn import dqn
from ialp_jax.agents.gate import gate
from ialp_jax.agents.jsrl import jsrl
from ialp_jax.agents.mixture import mixture
from ialp_jax.agents.pex import pex
from ialp_jax.agents.pg import pg
from ialp_jax.agents.reference import random
from ialp_jax.agents.rlpd import rlpd
from ialp_jax.agents.wsrl import wsrl
from ialp_jax.keys import stream
from ialp_jax.training.rollout import collect, start_users

pytestmark = pytest.mark.slow

COMMON = {"num_users": 16, "rollout_length": 8, "discount": DISCOUNT, "learning_rate": 1e-2}
UPDATES = 150
STEPS = UPDATES * 16 * 8
REPLAY = {**COMMON, "learning_rate": 3e-3, "batch_size": 64, "capacity": 4096}
LABELLED = 2048


def labelled():
    """Transitions of a random policy in each world, [5, 2048]. They are labels without errors."""
    agent = random(ITEMS)._replace(rollout_length=LABELLED // 16)

    def one(params, key):
        users = start_users(ENV, params, stream(key, "user"), 16)
        return collect(ENV, params, agent, None, users, stream(key, "collect"))[1]

    found = jax.jit(jax.vmap(one))(stacked(), jax.random.split(jax.random.key(2), len(NAMES)))
    return jax.tree.map(lambda leaf: leaf.reshape(len(NAMES), LABELLED, *leaf.shape[3:]), found)


AGENTS = {
    "dqn": dqn(
        DQNConfig(
            **{**COMMON, "learning_rate": 3e-3}, batch_size=64, epsilon_steps=STEPS // 2, capacity=4096
        ),
        Q_NETWORK,
    ),
    "pg": pg(PGConfig(**COMMON), ACTOR_CRITIC),
    "a2c": a2c(A2CConfig(**COMMON), ACTOR_CRITIC),
    "mixture": mixture(MixtureConfig(**COMMON, start="random", alpha_steps=STEPS // 2), ACTOR_CRITIC, STEPS),
    "gate": gate(GateConfig(**COMMON), ACTOR_CRITIC),
    "a2c_kl": a2c_kl(KLConfig(**COMMON), ACTOR_CRITIC, STEPS // 2),
    "jsrl": jsrl(JSRLConfig(**COMMON), ACTOR_CRITIC, STEPS // 2),
    "pex": pex(PEXConfig(**REPLAY), ACTOR_CRITIC),
    "rlpd": rlpd(RLPDConfig(**REPLAY), ACTOR_CRITIC, jax.tree.map(lambda leaf: leaf[0], labelled())),
    "wsrl": wsrl(WSRLConfig(**REPLAY, warmup_steps=STEPS // 10), ACTOR_CRITIC),
}
CASES = ["dqn", "pg", "a2c", "mixture from random", "mixture from pretrained"]
CASES += ["gate", "a2c_kl", "jsrl", "pex", "rlpd", "wsrl"]


@pytest.fixture(scope="module", params=CASES)
def trained(request):
    """(id, states [5, ...], mean returns late in learning)."""
    name = request.param.split()[0]
    agent, theta = AGENTS[name], None
    if name == "mixture":
        theta = jax.jit(ACTOR_CRITIC.init)(jax.random.key(9), start_of(0).history)
    states = start_states(agent, theta)
    if "pretrained" in request.param:  # done here and not in `init`, so that both cases share a program
        states = states._replace(params=states.memory)
    if name == "rlpd":  # each world has its own labels
        memory = states.memory._replace(fixed=labelled()._replace(extras={}))
        states = states._replace(memory=memory)
    states, reached = train(agent, UPDATES, states)
    return name, states, dict(zip(NAMES, np.asarray(reached).tolist(), strict=True))


def test_comes_close_to_the_best_return(trained):
    _, _, reached = trained
    for name, best in BEST_RETURN.items():
        assert reached[name] >= 0.93 * best, name
    assert reached["coin"] == pytest.approx(3.0, abs=0.25)  # for every policy


# (history, other items that were shown), late and early in a session.
LATE = ([3, 4, 5, 6], [1])
AFTER_LIKE = ([0, 0, 1, 7], [])
VALUES = jax.jit(jax.vmap(ACTOR_CRITIC.apply, in_axes=(0, None)))
Q_VALUES = jax.jit(jax.vmap(Q_NETWORK.apply, in_axes=(0, None)))


def values_of(name, params, where):
    """The value of a history in each world, [5]. It is the highest Q for DQN, and V for other agents."""
    history, more = where
    if name != "dqn":
        params = params.network if name == "gate" else params
        return dict(zip(NAMES, np.asarray(VALUES(params, jnp.array(history)).value).tolist(), strict=True))
    free = np.array([a for a in range(ITEMS) if a + 1 not in {*history, *more}])
    best = np.asarray(Q_VALUES(params, jnp.array(history)))[:, free].max(1)
    return dict(zip(NAMES, best.tolist(), strict=True))


def test_estimates_the_known_values(trained):
    name, states, _ = trained
    start = values_of(name, states.params, (start_of(0).history.tolist(), []))
    assert start["one_item"] == pytest.approx(1.0, abs=0.1)
    assert start["two_tastes"] == pytest.approx(VALUE["two_tastes"], abs=0.12)
    # Two steps before the horizon. If a truncation counted as a termination, the value would be 1.5.
    late = values_of(name, states.params, LATE)
    assert late["two_tastes"] == pytest.approx(VALUE["two_tastes"], abs=0.2)
    assert late["patience"] == pytest.approx(VALUE["patience"], abs=0.2)
    # No reward follows the one liked item. If the agent bootstrapped after it, the value would be 1.
    assert values_of(name, states.params, AFTER_LIKE)["one_item"] == pytest.approx(0.0, abs=0.15)
    if name != "dqn":  # the maximum of noisy Q values is biased upwards
        assert start["coin"] == pytest.approx(VALUE["coin"], abs=0.2)
        assert start["coin_leaves"] == pytest.approx(VALUE["coin_leaves"], abs=0.2)


def test_learning_is_finite_and_counts_its_steps(trained):
    name, states, _ = trained
    assert states.env_steps.tolist() == [STEPS] * len(NAMES)
    learned = jax.tree.leaves(states.params)
    assert all(np.isfinite(leaf).all() for leaf in learned)
    if name == "mixture":  # the frozen policy is unchanged in every world
        theta = jax.tree.leaves(states.memory)
        assert all((leaf == leaf[0]).all() for leaf in theta)
        assert any((a != b).any() for a, b in zip(theta, learned, strict=True))
