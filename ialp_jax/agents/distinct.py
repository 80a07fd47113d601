"""Encodes the histories of a rollout: each distinct history once, a few histories at a time.

A user's history changes only after a like and at the start of a session. So many of the T histories of a user
are equal. On a CPU, two things make the gradient of the encoder fast:

- The loop below runs only over blocks of distinct histories. The gradient sums over equal histories first.
- The arrays of a block are so small that they stay in the processor's cache. They are computed a second time
  for the gradient, because this is faster than to store them for the whole rollout and to read them again.

On other devices, all histories are encoded at once, because a loop whose length depends on data makes the
host wait for the device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ialp_jax.agents.base import Params
from ialp_jax.mesh import by_users
from ialp_jax.networks.heads import ActorCritic, ActorCriticOutput
from ialp_jax.types import Array

POSITIONS = 320  # positions in a block of histories

# (params, embedded items [c, L, D], bool [c, L]: False for padding) -> states [c, D]
Encode = Callable[[Params, Array, Array], Array]


def encode_rollout(network: ActorCritic, params: Params, history: Array) -> Array:
    """The encoded states of a rollout; the same as ``encode`` of all histories, except for rounding.

    Args:
      network, params: contain the encoder.
      history: int32 [T, B, L]; the first axis is the time.

    Returns:
      float32 [T, B, D].
    """
    if jax.default_backend() != "cpu":
        states: Array = network.apply(params, history, method="encode")
        return states
    encode = functools.partial(_encode_distinct, network)
    return jnp.swapaxes(by_users(encode, params, jnp.swapaxes(history, 0, 1)), 0, 1)


def apply_to_rollout(network: ActorCritic, params: Params, history: Array) -> ActorCriticOutput:
    """The network's output for histories [T, B, L] of a rollout, encoded by `encode_rollout`."""
    output: ActorCriticOutput = network.apply(params, encode_rollout(network, params, history))
    return output


def distinct(history: Array) -> tuple[Array, Array, Array]:
    """Finds the histories that differ from the user's previous one.

    Args:
      history: int32 [B, T, L].

    Returns:
      int32 [B T], the positions of the distinct histories in the list of all histories, padded with 0; int32
      [], their number; and int32 [B, T], for each history the rank of the equal one among the distinct
      histories.
    """
    changed = jnp.any(history[:, 1:] != history[:, :-1], -1)
    changed = jnp.pad(changed, ((0, 0), (1, 0)), constant_values=True)
    rank = jnp.cumsum(changed.ravel()) - 1
    (places,) = jnp.nonzero(changed.ravel(), size=changed.size, fill_value=0)
    return places, rank[-1] + 1, rank.reshape(changed.shape)


def _encode_distinct(network: ActorCritic, params: Params, history: Array) -> Array:
    """Maps histories int32 [B, T, L] to states [B, T, D]."""
    length = history.shape[-1]
    places, count, rank = distinct(history)
    size = min(len(places), max(1, POSITIONS // length))
    places = jnp.pad(places, (0, -len(places) % size))
    rows = history.reshape(-1, length)[places].reshape(-1, size, length)
    encode = functools.partial(network.apply, method="encode_embedded")
    # Items are embedded outside of the loop. Otherwise each block would add a whole gradient of the table.
    embedded = network.apply(params, rows, method="embed")
    states = _in_blocks(encode, params, embedded, rows > 0, -(-count // size))
    return states.reshape(-1, states.shape[-1])[rank]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_blocks(encode: Encode, params: Params, embedded: Array, real: Array, blocks: Array) -> Array:
    """Encodes block by block.

    Args:
      encode: encodes one block.
      params: parameters of ``encode``.
      embedded: float32 [any, c, L, D].
      real: bool [any, c, L].
      blocks: int32 [], number of blocks to encode.

    Returns:
      float32 [any, c, D], 0 after the first ``blocks`` blocks.
    """

    def one(number: Array, states: Array) -> Array:
        return states.at[number].set(encode(params, embedded[number], real[number]))

    block = jax.eval_shape(encode, params, embedded[0], real[0])
    return jax.lax.fori_loop(0, blocks, one, jnp.zeros((len(embedded), *block.shape), block.dtype))


def _forward(
    encode: Encode, params: Params, embedded: Array, real: Array, blocks: Array
) -> tuple[Array, tuple[Params, Array, Array, Array]]:
    return _in_blocks(encode, params, embedded, real, blocks), (params, embedded, real, blocks)


def _backward(
    encode: Encode, inputs: tuple[Params, Array, Array, Array], change: Array
) -> tuple[Params, Array, None, None]:
    params, embedded, real, blocks = inputs

    def one(number: Array, carry: tuple[Params, Array]) -> tuple[Params, Array]:
        total, of_embedded = carry
        _, pull = jax.vjp(lambda p, items: encode(p, items, real[number]), params, embedded[number])
        of_params, of_block = pull(change[number])
        return jax.tree.map(jnp.add, total, of_params), of_embedded.at[number].set(of_block)

    start = jax.tree.map(jnp.zeros_like, (params, embedded))
    return (*jax.lax.fori_loop(0, blocks, one, start), None, None)


_in_blocks.defvjp(_forward, _backward)
