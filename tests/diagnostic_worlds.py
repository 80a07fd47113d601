"""Tiny worlds with known optimal returns and values. The arrays of all worlds have the same shapes.

Each world has 16 items, histories of length 4, and horizon 6. Users 0 and 1 have taste A and item 1 as their
history. Users 2 and 3 have taste B and item 2 as their history. Values in the table use a discount of 0.5.

| world       | rule                                                      | best return | value            |
|-------------|-----------------------------------------------------------|-------------|------------------|
| one_item    | all like only item 7, and leave after the first dislike   | 1           | start 1, then 0  |
| two_tastes  | A likes 3..9, B likes 10..16; nobody leaves               | 6           | 1 / (1 - 0.5)    |
| patience    | all like 3..9, and leave after two dislikes in a row      | 6           | 1 / (1 - 0.5)    |
| coin        | every item is liked with probability 1/2; nobody leaves   | 3           | 0.5 / (1 - 0.5)  |
| coin_leaves | as in coin, but users leave after the first dislike       | -           | 0.5 / (1 - 0.25) |

The horizon truncates sessions and does not terminate them. So it does not lower the values.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ialp_jax.agents.base import Agent, AgentState, Params
from ialp_jax.keys import stream
from ialp_jax.networks.config import NetworkConfig
from ialp_jax.networks.heads import ActorCritic, QNetwork
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams
from ialp_jax.training.rollout import collect, start_users
from ialp_jax.types import Observation, UserModel

ITEMS, LENGTH, HORIZON = 16, 4, 6
DISCOUNT = 0.5
NAMES = ("one_item", "two_tastes", "patience", "coin", "coin_leaves")
BEST_RETURN = {"one_item": 1.0, "two_tastes": 6.0, "patience": 6.0}
VALUE = {"two_tastes": 2.0, "patience": 2.0, "coin": 1.0, "coin_leaves": 2 / 3}
ENV = SessionEnvironment()
SMALL = NetworkConfig(width=16, blocks=1, heads=1, dropout=0.0)
ACTOR_CRITIC = ActorCritic(ITEMS, LENGTH, SMALL)
Q_NETWORK = QNetwork(ITEMS, LENGTH, SMALL)
# Histories of four users, for transitions with known values.
HISTORIES = np.array([[0, 0, 0, 1], [0, 0, 1, 5], [0, 2, 7, 9], [0, 0, 0, 2]], np.int32)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """Compiles with little optimisation, because the tests spend more time on compiling than on running."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def _likes(name: str) -> np.ndarray:
    """Score of each item for tastes A and B, [N + 1, 2]. 1 means liked, -1 disliked, 0 liked at random."""
    scores = np.full((ITEMS + 1, 2), -1.0, np.float32)
    if name == "one_item":
        scores[7] = 1
    elif name == "two_tastes":
        scores[3:10, 0] = scores[10:, 1] = 1
    elif name == "patience":
        scores[3:10] = 1
    else:
        scores[:] = 0
    return scores


def world(name: str) -> SessionParams:
    """One of the worlds above."""
    starts = np.zeros((4, LENGTH), np.int32)
    starts[:, -1] = [1, 1, 2, 2]
    return SessionParams(
        user_model=UserModel(
            user_factors=jnp.eye(2)[jnp.array([0, 0, 1, 1])],
            item_factors=jnp.asarray(_likes(name)),
            item_bias=jnp.zeros(ITEMS + 1),
            knot_scores=jnp.array([-1.0, 0.0, 1.0]),
            knot_logits=jnp.array([-40.0, 0.0, 40.0]),
        ),
        start_histories=jnp.asarray(starts),
        users=jnp.arange(4, dtype=jnp.int32),
        patience=jnp.float32({"patience": 2.0, "one_item": 1.0, "coin_leaves": 1.0}.get(name, 100.0)),
        dislike_cost=jnp.float32(1.0),
        recovery=jnp.float32(1.0),
        max_steps_in_episode=HORIZON,
    )


def start_of(user: int) -> Observation:
    """The first observation of a session of a user."""
    return ENV.start(jnp.int32(user), world("one_item"))[0]


@jax.jit
def decided_params(seed: int) -> Params:
    """Random actor-critic parameters, enlarged so that the policy clearly prefers some items."""
    params = ACTOR_CRITIC.init(jax.random.key(seed), start_of(0).history)
    return jax.tree.map(lambda leaf: 3 * leaf, params)


def stacked() -> SessionParams:
    """Parameters of all worlds, stacked in the order of `NAMES`, [5, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[world(name) for name in NAMES])


def start_states(agent: Agent, pretrained: Params | None = None) -> AgentState:
    """The initial states of an agent in the five worlds, [5, ...], drawn from different keys."""
    keys = jax.random.split(jax.random.key(0), len(NAMES))
    return jax.jit(jax.vmap(lambda key: agent.init(key, start_of(0), pretrained)))(keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def train(agent: Agent, updates: int, states: AgentState) -> tuple[AgentState, jax.Array]:
    """Lets an agent learn in each world.

    Returns:
      The states [5, ...] after training, and the mean return [5] of sessions that ended in the last fifth
      of the updates. In these sessions the agent may still explore.
    """

    def one(params: SessionParams, state: AgentState, key: jax.Array) -> tuple[AgentState, jax.Array]:
        users = start_users(ENV, params, stream(key, "user"), agent.num_users)

        def update(carry: tuple, step_key: jax.Array) -> tuple[tuple, tuple]:
            state, users = carry
            users, batch = collect(ENV, params, agent, state, users, stream(step_key, "collect"))
            state = agent.update(state, batch, stream(step_key, "update"))[0]
            return (state, users), (batch.reward.sum(), (batch.terminated | batch.truncated).sum())

        keys = jax.random.split(stream(key, "learn"), updates)
        (state, _), (reward, ended) = jax.lax.scan(update, (state, users), keys)
        late = updates - updates // 5
        return state, reward[late:].sum() / ended[late:].sum()

    return jax.vmap(one)(stacked(), states, jax.random.split(jax.random.key(1), len(NAMES)))
