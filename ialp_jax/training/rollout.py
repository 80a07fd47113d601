"""The one loop between agents and users: collecting experience, and playing whole sessions."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.agents.base import Agent, AgentState
from ialp_jax.keys import stream
from ialp_jax.mesh import split_users
from ialp_jax.simulator.dynamics_params import SEGMENTS
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams, SessionState
from ialp_jax.types import Array, Key, Observation, Transition


class Users(NamedTuple):
    """B simulated users in mid-session: what a rollout starts from and ends with."""

    observation: Observation
    state: SessionState


def start_users(env: SessionEnvironment, params: SessionParams, key: Key, count: int) -> Users:
    """Starts ``count`` sessions."""
    return Users(*jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key, count), params))


def collect(
    env: SessionEnvironment,
    params: SessionParams,
    agent: Agent,
    agent_state: AgentState,
    users: Users,
    key: Key,
) -> tuple[Users, Transition]:
    """Lets the agent act for ``rollout_length`` steps; sessions that end are followed by new ones.

    Args:
      env, params: the world and the users of it that are met.
      agent, agent_state: who acts.
      users: B users in mid-session.
      key: consumed.

    Returns:
      The users afterwards, and Transition [T, B] with true final observations.
    """

    def step(users: Users, step_key: Key) -> tuple[Users, Transition]:
        count = users.state.time.shape[0]
        action, extras = agent.act(agent_state, users.observation, stream(step_key, "act"))
        user_keys = jax.random.split(stream(step_key, "user"), count)
        observation, state, reward, terminated, truncated, info = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            user_keys, users.state, action, params
        )
        transition = Transition(
            users.observation, action, reward, terminated, truncated, info["final_observation"], extras
        )
        return split_users(Users(observation, state)), split_users(transition)

    users, transitions = jax.lax.scan(step, split_users(users), jax.random.split(key, agent.rollout_length))
    return users, split_users(transitions, axis=1)


class Episodes(NamedTuple):
    """What happened in E whole sessions.

    Attributes:
      total: float32 [E], return of each.
      length: int32 [E].
      items: int32 [H, E], recommended item ids, 0 after the end.
      user: int32 [E], who came; None where that is not known.
    """

    total: Array
    length: Array
    items: Array
    user: Array | None = None


def play(
    env: SessionEnvironment,
    params: SessionParams,
    agent: Agent,
    agent_state: AgentState,
    user_key: Key,
    act_key: Key,
    count: int,
    greedy: bool = False,
) -> Episodes:
    """Plays ``count`` sessions to their end.

    Args:
      env, params: the world and the users of it that are met.
      agent, agent_state: who acts; a privileged agent is shown the simulator's state.
      user_key: decides who comes and how they respond; the same for all agents that are compared.
      act_key: the agent's own draws.
      count: E.
      greedy: passed to ``act``.
    """
    users = split_users(start_users(env, params, stream(user_key, "start"), count))

    def step(
        carry: tuple[Users, Array], number: Array
    ) -> tuple[tuple[Users, Array], tuple[Array, Array, Array]]:
        users, alive = carry
        seen = (users.observation, users.state) if agent.privileged else users.observation
        action, _ = agent.act(agent_state, seen, jax.random.fold_in(act_key, number), greedy=greedy)
        keys = jax.random.split(jax.random.fold_in(user_key, number), count)
        observation, state, reward, terminated, _ = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))(
            keys, users.state, action, params
        )
        seen_now = (reward * alive, alive, jnp.where(alive, action + 1, 0))
        return (Users(observation, state), alive & ~terminated), seen_now

    start = (users, jnp.ones(count, bool))
    _, (rewards, alive, items) = jax.lax.scan(step, start, jnp.arange(params.max_steps_in_episode))
    return Episodes(rewards.sum(0), alive.sum(0), items, users.state.user)


def summarise(episodes: Episodes, num_items: int) -> dict[str, Array]:
    """Means over sessions, float32 []: return, length, reward_per_step; and two of the catalogue.

    ``coverage`` is the share of the N items that was recommended at least once in these sessions, ``gini``
    how unequally they share the exposure, see `gini`.
    """
    exposure = jnp.bincount(episodes.items.ravel(), length=num_items + 1)[1:]
    return {
        "return": episodes.total.mean(),
        "length": episodes.length.mean(dtype=jnp.float32),
        "reward_per_step": episodes.total.sum() / episodes.length.sum(),
        "coverage": (exposure > 0).mean(dtype=jnp.float32),
        "gini": gini(exposure),
    }


def gini(exposure: Array) -> Array:
    """Gini coefficient of counts [N], float32 []: 0 where all are equal, (N - 1) / N where one has all.

    sum_i (2 i - N - 1) x_i / (N sum_i x_i) over the counts in ascending order, i = 1..N: half the mean
    absolute difference of two items over the mean.
    """
    ranked = jnp.sort(exposure).astype(jnp.float32)
    count = ranked.shape[0]
    weights = 2.0 * jnp.arange(1, count + 1) - count - 1
    return jnp.sum(weights * ranked) / (count * jnp.maximum(ranked.sum(), 1.0))


class Groups(NamedTuple):
    """By what sessions are broken down beside the segments that the dynamics know.

    Attributes:
      category: int32 [N + 1, G], the set of categories of each item, padded with 0.
      user: int32 [U], the group of each user, an index into ``names``.
      names: of the groups.
    """

    category: np.ndarray
    user: np.ndarray
    names: tuple[str, ...]


def _by_category(category: np.ndarray, items: Array) -> Array:
    """How often each category was recommended, float32 [C]; an item of n categories counts 1 / n for each."""
    several = np.reshape(category, (len(category), -1))
    part = np.float32(1.0) / np.maximum((several > 0).sum(axis=1, keepdims=True), 1)
    shown, weight = jnp.asarray(several)[items], jnp.broadcast_to(part, several.shape)[items]
    size = max(int(several.max()), 1) + 1
    return jnp.bincount(shown.ravel(), weight.ravel(), length=size)[1:]


def summarise_groups(episodes: Episodes, groups: Groups) -> dict[str, Array]:
    """What was recommended by category, and what each group of users got; float32 [] each.

    Returns:
      ``category_entropy``: -sum_c p_c ln p_c in nats, with p_c the share of category c among the
      recommendations of items that have a category, over all sessions together (0 where none has one); an
      item of n categories counts 1 / n for each; and
      for each group ``return/<group>``, the mean return of its sessions, NaN where there are none.
    """
    count = _by_category(groups.category, episodes.items)
    share = count / jnp.maximum(count.sum(), 1)
    entropy = jnp.sum(jax.scipy.special.entr(share))
    of = jnp.asarray(groups.user)[episodes.user]
    sessions = jnp.bincount(of, length=len(groups.names))
    totals = jnp.bincount(of, episodes.total, length=len(groups.names)) / sessions
    return {"category_entropy": entropy} | {
        f"return/{name}": totals[number] for number, name in enumerate(groups.names)
    }


def summarise_segments(episodes: Episodes, params: SessionParams) -> dict[str, Array]:
    """Mean return and length per segment of users, float32 []; empty where the world has no segments.

    Keys are ``return/<segment>`` and ``length/<segment>`` for each of ``SEGMENTS``; the value is NaN where
    no session was of that segment.
    """
    if params.dynamics.segments is None:
        return {}
    of = params.dynamics.segments.segment[episodes.user]
    count = jnp.bincount(of, length=len(SEGMENTS))
    found = {}
    for metric, values in (("return", episodes.total), ("length", episodes.length)):
        means = jnp.bincount(of, values, length=len(SEGMENTS)) / count
        found |= {f"{metric}/{name}": means[number] for number, name in enumerate(SEGMENTS)}
    return found
