"""Remembers encoded histories between steps. Most histories stay the same in a step.

A history changes only if the user liked the recommended item, or if a new session began. On a CPU, only the
changed histories are encoded again. Elsewhere, a loop whose length depends on data would wait for the host in
each step, so all histories are encoded in each step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ialp_jax.agents.base import Agent, Encoder, News
from ialp_jax.mesh import by_users
from ialp_jax.types import Array, Key, Observation

PARTS = 16  # number of blocks into which the histories of all users are divided
SMALLEST = 8  # smallest number of histories in a block


class Memory(NamedTuple):
    """The last observations of B users, and their encoded histories.

    Attributes:
      observation: [B, ...]; histories of -1 are not encoded yet.
      encoded: tree of arrays [B, ...], made by an `Encoder`.
    """

    observation: Observation
    encoded: Any


def empty_memory(encoder: Encoder | None, state: Any, observation: Observation) -> Memory | None:
    """Memory without any encoded history; None if all histories are encoded in each step.

    Args:
      encoder: the agent's encoder; None if it has none.
      state: state of the agent. If it changes, a new memory is needed.
      observation: [B, ...], only its shapes matter.
    """
    if encoder is None or jax.default_backend() != "cpu":
        return None
    shapes = jax.eval_shape(encoder.encode, state, observation.history)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return Memory(jax.tree.map(lambda leaf: jnp.full_like(leaf, -1), observation), nothing)


def refreshed(
    encoder: Encoder, state: Any, memory: Memory, observation: Observation, greedy: bool = False
) -> Memory:
    """The memory of new observations; it encodes only histories that it does not have yet.

    Changed histories are encoded in blocks of equal size, even if all have changed. So the bits of an encoded
    history do not depend on the step in which it was encoded.

    Args:
      encoder, state: the encoder, and the state of its agent.
      memory: memory after the step before.
      observation: [B, ...].
      greedy: whether the agent acts greedily; the same in each step.
    """

    def encode_blocks(state: Any, encoded: Any, history: Array, changed: Array) -> Any:
        count = history.shape[0]
        size = min(count, max(SMALLEST, -(-count // PARTS)))
        order = jnp.nonzero(changed, size=count + size, fill_value=count)[0]

        def block(number: Array, encoded: Any) -> Any:
            rows = jax.lax.dynamic_slice_in_dim(order, number * size, size)
            fresh = encoder.encode(state, history.at[rows].get(mode="clip"))
            return jax.tree.map(lambda old, new: old.at[rows].set(new, mode="drop"), encoded, fresh)

        return jax.lax.fori_loop(0, -(-changed.sum() // size), block, encoded)

    changed = _changed(memory.observation, observation)
    encoded = by_users(encode_blocks, state, memory.encoded, observation.history, changed)
    if encoder.hide is not None:
        shown = observation.shown
        new = changed[:, None] | (memory.observation.shown != shown)
        encoded = encoder.hide(state, encoded, News(shown, changed, new), greedy)
    return Memory(observation, encoded)


def _changed(before: Observation, after: Observation) -> Array:
    """Whether a user has another history, or a new session in which hidden items are allowed again."""
    other_history = jnp.any(before.history != after.history, -1)
    return other_history | jnp.any((before.shown != after.shown) & (before.shown != 0), -1)


def act(
    agent: Agent,
    state: Any,
    observed: Any,
    key: Key,
    memory: Memory | None,
    greedy: bool = False,
) -> tuple[Array, dict[str, Array], Memory | None]:
    """Lets an agent act for B users, with the histories that it has already encoded.

    Args:
      agent, state: the agent; its state must be the one for which the memory was made.
      observed: the observation of B users; privileged agents get the pair (observation, simulator state).
      key: consumed.
      memory: memory after the step before; in the first step, `empty_memory`.
      greedy: passed to ``Agent.act``; the same in each step.

    Returns:
      Actions and extras, see ``Agent.act``, and the memory after this step.
    """
    if memory is None or agent.encoder is None:
        return *agent.act(state, observed, key, greedy=greedy), None
    memory = refreshed(agent.encoder, state, memory, observed[0] if agent.privileged else observed, greedy)
    return *agent.act(state, observed, key, greedy=greedy, encoded=memory.encoded), memory
