"""Replay buffer: a ring buffer of transitions on the device."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ialp_jax.mesh import split_users
from ialp_jax.types import Array, Key, Observation, Transition


class Replay(NamedTuple):
    """The newest transitions.

    Attributes:
      data: Transition [capacity].
      added: int32 [], number of transitions that were ever added.
    """

    data: Transition
    added: Array


def empty(observation: Observation, capacity: int) -> Replay:
    """An empty replay buffer for observations of this shape."""
    room = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), observation)
    flags = jnp.zeros(capacity, bool)
    data = Transition(room, jnp.zeros(capacity, jnp.int32), jnp.zeros(capacity), flags, flags, room, {})
    return Replay(data, jnp.int32(0))


def add(replay: Replay, transitions: Transition) -> Replay:
    """Adds transitions [T, B] in the order of time; they overwrite the oldest transitions."""
    capacity = replay.data.reward.shape[0]
    count = transitions.reward.size
    places = (replay.added + jnp.arange(count)) % capacity

    def put(room: Array, new: Array) -> Array:
        return room.at[places].set(new.reshape(count, *new.shape[2:]))

    data = jax.tree.map(put, replay.data, transitions._replace(extras={}))
    return Replay(data, replay.added + count)


def draw(replay: Replay, key: Key, count: int) -> Transition:
    """Draws ``count`` stored transitions uniformly, with replacement."""
    filled = jnp.minimum(replay.added, replay.data.reward.shape[0])
    places = jax.random.randint(key, (count,), 0, filled)
    return split_users(jax.tree.map(lambda room: room[places], replay.data))
