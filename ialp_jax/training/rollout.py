"""Agents act on simulated users: `collect` gathers experience, `play` plays whole sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.agents.base import Agent, AgentState
from ialp_jax.keys import stream
from ialp_jax.mesh import split_users
from ialp_jax.simulator.dynamics_params import SEGMENTS
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams, SessionState
from ialp_jax.training.encoded import Memory, act, empty_memory
from ialp_jax.types import Array, Key, Observation, Transition


class Users(NamedTuple):
    """B simulated users, each in a running session."""

    observation: Observation
    state: SessionState


def start_users(env: SessionEnvironment, params: SessionParams, key: Key, count: int) -> Users:
    """Starts ``count`` sessions, each with a user drawn at random."""
    return Users(*jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key, count), params))


def collect(
    env: SessionEnvironment,
    params: SessionParams,
    agent: Agent,
    agent_state: AgentState,
    users: Users,
    key: Key,
) -> tuple[Users, Transition]:
    """Lets the agent act for ``rollout_length`` steps. When a session ends, the next one starts.

    Args:
      env, params: the world; sessions use only the users in ``params``.
      agent, agent_state: the agent that acts.
      users: B users within a session.
      key: consumed.

    Returns:
      The users after T steps, and Transition [T, B] with true final observations.
    """

    def step(
        carry: tuple[Users, Memory | None], step_key: Key
    ) -> tuple[tuple[Users, Memory | None], Transition]:
        users, memory = carry
        count = users.observation.history.shape[0]
        act_key = stream(step_key, "act")
        action, extras, memory = act(agent, agent_state, users.observation, act_key, memory)
        user_keys = jax.random.split(stream(step_key, "user"), count)
        observation, state, reward, terminated, truncated, info = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            user_keys, users.state, action, params
        )
        transition = Transition(
            users.observation, action, reward, terminated, truncated, info["final_observation"], extras
        )
        return (split_users(Users(observation, state)), split_users(memory)), split_users(transition)

    memory = empty_memory(agent.encoder, agent_state, users.observation)
    start, keys = (split_users(users), split_users(memory)), jax.random.split(key, agent.rollout_length)
    (users, _), transitions = jax.lax.scan(step, start, keys)
    return users, split_users(transitions, axis=1)


def users_of(params: SessionParams, key: Key, first: Array | int, count: int) -> Array:
    """The users of the sessions ``first`` to ``first + count - 1``, int32 [count].

    The list of sessions repeats one random order of the users of ``params``. So in the first E sessions, all
    users are equally often, or differ by one session (stratified sampling with one stratum per user).
    """
    order = jax.random.permutation(key, params.users)
    return order[(first + jnp.arange(count)) % len(order)]


class Episodes(NamedTuple):
    """E whole sessions.

    Attributes:
      total: float32 [E], return of each session.
      length: int32 [E].
      items: int32 [H, E], recommended item ids, 0 after the end.
      user: int32 [E], the user of each session; None if unknown.
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
    batch: Array | int = 0,
) -> Episodes:
    """Plays ``count`` sessions to their end; stops when the last of them has ended.

    The sessions are numbers ``batch * count`` to ``(batch + 1) * count - 1`` of the list of `users_of`.

    Args:
      env, params: the world; sessions use only the users in ``params``.
      agent, agent_state: the agent that acts; a privileged agent sees the state of the simulator.
      user_key: determines the users and their answers. To compare agents, give all of them the same key.
      act_key: key for the random choices of the agent.
      count: E.
      greedy: passed to ``act``.
      batch: int [], number of the batch; each batch has its own random numbers.
    """
    chosen = users_of(params, stream(user_key, "start"), batch * count, count)
    users = split_users(Users(*jax.vmap(env.start, in_axes=(0, None))(chosen, params)))
    act_key, user_key = (stream(key, "batch", batch) for key in (act_key, user_key))

    def step(
        carry: tuple[Users, jax.Array, Memory | None], number: Array
    ) -> tuple[tuple[Users, jax.Array, Memory | None], tuple[Array, Array, Array]]:
        users, alive, memory = carry
        observed = (users.observation, users.state) if agent.privileged else users.observation
        step_key = jax.random.fold_in(act_key, number)
        action, _, memory = act(agent, agent_state, observed, step_key, memory, greedy)
        keys = jax.random.split(jax.random.fold_in(user_key, number), count)
        observation, state, reward, terminated, _ = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))(
            keys, users.state, action, params
        )
        outcome = (reward * alive, alive, jnp.where(alive, action + 1, 0))
        return (Users(observation, state), alive & ~terminated, memory), outcome

    memory = empty_memory(agent.encoder, agent_state, users.observation)
    start = (users, jnp.ones(count, bool), split_users(memory))
    _, (rewards, alive, items) = scan_while(
        step, start, params.max_steps_in_episode, lambda carry: jnp.any(carry[1])
    )
    return Episodes(rewards.sum(0), alive.sum(0), items, users.state.user)


def scan_while(
    step: Callable[[Any, Array], tuple[Any, Any]],
    start: Any,
    most: int,
    goes_on: Callable[[Any], Array],
) -> tuple[Any, Any]:
    """Like ``jax.lax.scan(step, start, jnp.arange(most))``, but stops as soon as nothing remains to do.

    Args:
      step: (carry, number of the step) -> (carry, results of users [B, ...]).
      start: the first carry.
      most: largest number of steps.
      goes_on: carry -> bool [], whether another step is necessary.

    Returns:
      The last carry, and the results [most, B, ...], which are 0 for steps that did not run.
    """

    def one(loop: tuple[Array, Any, Any]) -> tuple[Array, Any, Any]:
        number, carry, results = loop
        carry, new = step(carry, number)
        return number + 1, carry, jax.tree.map(lambda old, row: old.at[number].set(row), results, new)

    rows = jax.eval_shape(step, start, jnp.int32(0))[1]
    nothing = jax.tree.map(lambda row: jnp.zeros((most, *row.shape), row.dtype), rows)
    loop = (jnp.int32(0), start, split_users(nothing, axis=1))
    loop = jax.lax.while_loop(lambda loop: (loop[0] < most) & goes_on(loop[1]), one, loop)
    return loop[1], loop[2]


def summarise(episodes: Episodes, num_items: int) -> dict[str, Array]:
    """Metrics of all sessions together, float32 [].

    ``return`` and ``length`` are means over sessions, ``reward_per_step`` is the mean over steps.
    ``coverage`` is the share of the N items that were recommended at least once. ``gini`` measures how
    unequally the N items were recommended, see `gini`.
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
    """Gini coefficient of counts [N], float32 []: 0 if all are equal, (N - 1) / N if one item has all counts.

    sum_i (2 i - N - 1) x_i / (N sum_i x_i) over the counts in ascending order, i = 1..N. This equals half the
    mean absolute difference between two counts, divided by the mean count.
    """
    ranked = jnp.sort(exposure).astype(jnp.float32)
    count = ranked.shape[0]
    weights = 2.0 * jnp.arange(1, count + 1) - count - 1
    return jnp.sum(weights * ranked) / (count * jnp.maximum(ranked.sum(), 1.0))


class Groups(NamedTuple):
    """Groups by which evaluation is broken down, besides the simulator's segments.

    Attributes:
      category: int32 [N + 1, G], the set of categories of each item, padded with 0.
      user: int32 [U], the group of each user, an index into ``names``.
      names: names of the groups of users.
    """

    category: Array
    user: Array
    names: tuple[str, ...]

    @property
    def num_categories(self) -> int:
        """C, at least 1; ``category`` must not be traced."""
        return max(int(np.max(self.category)), 1)


def _by_category(category: Array, items: Array, num_categories: int) -> Array:
    """Counts recommendations by category, float32 [C]; an item with n categories adds 1 / n to each."""
    several = jnp.reshape(category, (len(category), -1))
    part = jnp.float32(1.0) / jnp.maximum((several > 0).sum(axis=1, keepdims=True), 1)
    shown, weight = several[items], jnp.broadcast_to(part, several.shape)[items]
    return jnp.bincount(shown.ravel(), weight.ravel(), length=num_categories + 1)[1:]


def summarise_groups(
    episodes: Episodes, groups: Groups, num_categories: int | None = None
) -> dict[str, Array]:
    """Diversity of categories, and the return of each group of users; float32 [] each.

    Args:
      episodes: E sessions.
      groups: groups of items and users.
      num_categories: C, if ``groups`` is traced; None: read from ``groups``.

    Returns:
      ``category_entropy``: -sum_c p_c ln p_c in nats, where p_c is the share of category c in all
      recommendations of items that have a category. An item with n categories counts 1 / n for each. The
      entropy is 0 if no item has a category. ``return/<group>`` is the mean return of a group's sessions, NaN
      for a group without sessions.
    """
    count = _by_category(groups.category, episodes.items, num_categories or groups.num_categories)
    share = count / jnp.maximum(count.sum(), 1)
    entropy = jnp.sum(jax.scipy.special.entr(share))
    group = jnp.asarray(groups.user)[episodes.user]
    sessions = jnp.bincount(group, length=len(groups.names))
    means = jnp.bincount(group, episodes.total, length=len(groups.names)) / sessions
    metrics: dict[str, Array] = {"category_entropy": entropy}
    return metrics | {f"return/{name}": means[number] for number, name in enumerate(groups.names)}


def summarise_segments(episodes: Episodes, params: SessionParams) -> dict[str, Array]:
    """Mean return and length of each segment of users, float32 []; empty if the world has no segments.

    Names are ``return/<segment>`` and ``length/<segment>`` for each of ``SEGMENTS``. A segment without
    sessions has the value NaN.
    """
    if params.dynamics.segments is None:
        return {}
    segment = params.dynamics.segments.segment[episodes.user]
    count = jnp.bincount(segment, length=len(SEGMENTS))
    metrics: dict[str, Array] = {}
    for metric, values in (("return", episodes.total), ("length", episodes.length)):
        means = jnp.bincount(segment, values, length=len(SEGMENTS)) / count
        metrics |= {f"{metric}/{name}": means[number] for number, name in enumerate(SEGMENTS)}
    return metrics
