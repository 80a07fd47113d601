"""The one loop between agents and users: collecting experience, and playing whole sessions."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ialp_jax.agents.base import Agent, AgentState
from ialp_jax.keys import stream
from ialp_jax.simulator.dynamics_params import SEGMENTS
from ialp_jax.simulator.environment import SessionEnvironment, SessionParams, SessionState
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
        return Users(observation, state), transition

    return jax.lax.scan(step, users, jax.random.split(key, agent.rollout_length))


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
    users = start_users(env, params, stream(user_key, "start"), count)

    def step(carry: tuple, number: Array) -> tuple[tuple, tuple]:
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
    """Means over sessions, float32 []: return, length, reward_per_step, and catalogue coverage.

    ``coverage`` is the share of the N items that was recommended at least once in these sessions.
    """
    met = jnp.zeros(num_items + 1, bool).at[episodes.items].set(True)[1:]
    return {
        "return": episodes.total.mean(),
        "length": episodes.length.mean(dtype=jnp.float32),
        "reward_per_step": episodes.total.sum() / episodes.length.sum(),
        "coverage": met.mean(dtype=jnp.float32),
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
