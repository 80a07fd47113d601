"""Remembers encoded histories between steps. Most histories stay the same in a step.

A history changes only if the user liked the recommended item, or if a new session began. On a CPU, only the
changed histories are encoded again. Elsewhere, a loop whose length depends on data would wait for the host in
each step, so all histories are encoded in each step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ialp_jax.agents.base import Agent, AgentState
from ialp_jax.mesh import by_users
from ialp_jax.types import Array, Key, Observation

PARTS = 16  # the histories of all users make this number of blocks
SMALLEST = 8  # histories in a block

Encode = Callable[[Any, Array], Any]  # (state of the agent, histories [B, L]) -> tree of arrays [B, ...]


class Encoded(NamedTuple):
    """The histories of B users, and what they were encoded to.

    Attributes:
      history: int32 [B, L]; -1 if not encoded yet.
      states: tree of arrays [B, ...], the results of an `Encode` function.
    """

    history: Array
    states: Any


def nothing_encoded(encode: Encode | None, state: Any, history: Array) -> Encoded | None:
    """Memory without any encoded history; None if all histories are encoded in each step.

    Args:
      encode: the agent's function; None if it has none.
      state: state of the agent. If it changes, the memory must start again from nothing.
      history: int32 [B, L], only its shape matters.
    """
    if encode is None or jax.default_backend() != "cpu":
        return None
    shapes = jax.eval_shape(encode, state, history)
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return Encoded(jnp.full_like(history, -1), empty)


def encode_changed(encode: Encode, state: Any, memory: Encoded, history: Array) -> Encoded:
    """Encodes the histories that differ from those in the memory, and returns the memory of all histories.

    The changed histories are encoded in blocks of equal size, also if all have changed. So the bits of an
    encoded history do not depend on the step in which it was encoded.
    """

    def encode_blocks(state: Any, memory: Encoded, history: Array) -> Encoded:
        count = history.shape[0]
        size = min(count, max(SMALLEST, -(-count // PARTS)))
        changed = jnp.any(memory.history != history, -1)
        order = jnp.nonzero(changed, size=count + size, fill_value=count)[0]

        def block(number: Array, states: Any) -> Any:
            rows = jax.lax.dynamic_slice_in_dim(order, number * size, size)
            fresh = encode(state, history.at[rows].get(mode="clip"))
            return jax.tree.map(lambda old, new: old.at[rows].set(new, mode="drop"), states, fresh)

        blocks = -(-changed.sum() // size)
        return Encoded(history, jax.lax.fori_loop(0, blocks, block, memory.states))

    return by_users(encode_blocks, state, memory, history)


def act(
    agent: Agent,
    state: AgentState,
    observed: Any,
    key: Key,
    memory: Encoded | None,
    greedy: bool = False,
) -> tuple[Array, dict[str, Array], Encoded | None]:
    """Lets an agent act for B users, with the histories that it has already encoded.

    Args:
      agent, state: the agent; since ``memory`` began, its state has not changed.
      observed: the observation of B users; privileged agents get the pair (observation, simulator state).
      key: consumed.
      memory: of the step before, at first `nothing_encoded`.
      greedy: passed to ``Agent.act``.

    Returns:
      Actions and extras, see ``Agent.act``, and the memory after this step.
    """
    if memory is None or agent.encode is None:
        return *agent.act(state, observed, key, greedy=greedy), None
    observation: Observation = observed[0] if agent.privileged else observed
    memory = encode_changed(agent.encode, state, memory, observation.history)
    return *agent.act(state, observed, key, greedy=greedy, encoded=memory.states), memory
