"""Chooses items from very large catalogues without an array of B times N numbers.

The logits are ``query @ table[1:].T + bias``. A first pass over the items stores one number per user and
block of about sqrt(N) items: the logsumexp of the block's logits, or their maximum. Every choice then takes a
block by these numbers, and an item within the block, whose logits it computes again. After that it updates
the number of this block, without the chosen item. So choices are made one after the other, without
replacement.

If several devices split the users, each device makes the first pass over its share of the items for all
users. With few users per device, a device would spend more time on reading the items than on products.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ialp_jax.agents.sampling import block_size, invert
from ialp_jax.mesh import USER, by_users, devices_within
from ialp_jax.networks.heads import MASKED
from ialp_jax.types import Array, Key

CHUNK = 2**19  # logits of the first pass that are in memory at the same time
SHOWN = 64  # shown items that are masked at the same time
GATHERED = 2**22  # numbers of the item table that are copied at the same time for the choices
NO_ITEM = 1e3 * MASKED  # logit of a place without an item; less probable than an item that was shown


class Factors(NamedTuple):
    """What every user's logits are computed from.

    Attributes:
      table: float32 [N + 1, D]; row 0 is padding.
      bias: float32 [N].
    """

    table: Array
    bias: Array


class Layout(NamedTuple):
    """How N items are divided into chunks, and chunks into blocks of equal size.

    Attributes:
      num_items: N.
      size: number of items in a block.
      blocks: number of blocks in a chunk.
    """

    num_items: int
    size: int
    blocks: int

    @property
    def chunk(self) -> int:
        """Number of items in a chunk."""
        return self.size * self.blocks

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.num_items // self.chunk)

    def places(self, chunk: Array) -> tuple[Array, Array]:
        """The first place of a chunk in the table, and its first item.

        They differ only for the last chunk, if it would go beyond the end of the table. This chunk starts
        earlier, and the places before its first item belong to the chunk before.
        """
        first = chunk * self.chunk
        return jnp.minimum(first, self.num_items - self.chunk), first


def layout(num_items: int, users: int) -> Layout:
    """The layout for N items and B users."""
    size = block_size(num_items)
    return Layout(num_items, size, max(1, min(num_items // size, CHUNK // (size * users))))


def choose_streamed(key: Key | None, query: Array, factors: Factors, shown: Array, count: int = 1) -> Array:
    """Chooses ``count`` different items per user, without items in ``shown``.

    Args:
      key: draws each item from the softmax of the logits of the items that are left, like
        `sampling.candidates`. If it is None, chooses the items with the highest logits, like `jax.lax.top_k`.
      query: float32 [B, D].
      factors: the item table and the biases.
      shown: int32 [B, any], item ids that must not be chosen; 0 is ignored.
      count: K.

    Returns:
      int32 [B, K], 0..N-1, in the order of the choices; a shown item only if no other items are left.
    """
    greedy = key is None
    uniform = (
        jnp.zeros((len(query), count, 2)) if key is None else jax.random.uniform(key, (len(query), count, 2))
    )

    def choose(factors: Factors, query: Array, shown: Array, uniform: Array) -> Array:
        return _choose(factors, query, shown, uniform, greedy)

    return by_users(choose, factors, query, shown, uniform)


def _choose(factors: Factors, query: Array, shown: Array, uniform: Array, greedy: bool) -> Array:
    """`choose_streamed` with random numbers [B, K, 2]; they are not used if ``greedy``."""
    users, width = query.shape
    plan = layout(len(factors.bias), users * devices_within())
    by_block = _summaries(plan, factors, query, shown, greedy)

    def of_user(arguments: tuple[Array, Array, Array, Array]) -> Array:
        return _choices(plan, factors, *arguments, greedy)

    group = max(1, min(users, GATHERED // (plan.size * width)))
    return jax.lax.map(of_user, (query, shown, by_block, uniform), batch_size=group)


def _summaries(plan: Layout, factors: Factors, query: Array, shown: Array, greedy: bool) -> Array:
    """The summary of each block for each user, float32 [B, at least chunks * blocks].

    Blocks beyond the last chunk have no items.
    """
    devices = devices_within()
    count = -(-plan.chunks // devices)
    first = jnp.int32(0)
    if devices > 1:
        query, shown = (jax.lax.all_gather(rows, USER, tiled=True) for rows in (query, shown))
        first = jax.lax.axis_index(USER) * count

    users = jnp.broadcast_to(jnp.arange(len(query))[:, None], shown.shape)
    items, owners = jax.lax.sort((jnp.asarray(shown).ravel(), users.ravel()), num_keys=1)

    def hide(logits: Array, place: Array) -> Array:
        """Masks the shown items of a chunk. They lie next to each other, because items are sorted."""
        ends = jnp.searchsorted(items, jnp.stack([place, place + plan.chunk]), side="right")

        def some(number: Array, logits: Array) -> Array:
            at = ends[0] + number * SHOWN + jnp.arange(SHOWN)
            row = jnp.where(at < ends[1], items.at[at].get(mode="clip") - 1 - place, plan.chunk)
            return logits.at[row, owners.at[at].get(mode="clip")].set(MASKED, mode="drop")

        return jax.lax.fori_loop(0, -(-(ends[1] - ends[0]) // SHOWN), some, logits)

    def of_chunk(_: None, chunk: Array) -> tuple[None, Array]:
        place, first = plan.places(chunk)
        rows, bias = _slices(plan.chunk, factors, place)
        logits = _with_bias(hide(rows @ query.T, place), bias, place, first)
        return None, _summary(logits.reshape(plan.blocks, plan.size, -1), greedy)

    summaries = jax.lax.scan(of_chunk, None, first + jnp.arange(count))[1].reshape(-1, len(query)).T
    if devices > 1:
        summaries = jax.lax.all_to_all(summaries, USER, split_axis=0, concat_axis=1, tiled=True)
    return summaries


def _slices(count: int, factors: Factors, place: Array) -> tuple[Array, Array]:
    """The table [count, D] and the biases [count] from ``place``."""
    rows = jax.lax.dynamic_slice_in_dim(factors.table, place + 1, count)
    return rows, jax.lax.dynamic_slice_in_dim(factors.bias, place, count)


def _with_bias(products: Array, bias: Array, place: Array, first: Array) -> Array:
    """Logits from products [count, ...] without the bias; places before the item ``first`` have none.

    Shown items are masked before, so that this addition is fused with the operation that reads the logits.
    """
    is_item = (place + jnp.arange(len(bias)) >= first).reshape(-1, *[1] * (products.ndim - 1))
    return jnp.where(is_item, products + bias.reshape(is_item.shape), NO_ITEM)


def _summary(logits: Array, greedy: bool) -> Array:
    """Summarises blocks: maps logits [..., size, B] to [..., B].

    Users are the last axis, because a CPU then computes maxima and sums over items faster.
    """
    top = logits.max(-2)
    return top if greedy else top + jnp.log(jnp.exp(logits - top[..., None, :]).sum(-2))


def _choices(
    plan: Layout,
    factors: Factors,
    query: Array,
    shown: Array,
    by_block: Array,
    uniform: Array,
    greedy: bool,
) -> Array:
    """The choices of one user, int32 [K].

    Args:
      plan, factors: the items.
      query: float32 [D].
      shown: int32 [any].
      by_block: float32 [chunks * blocks], summaries.
      uniform: float32 [K, 2], random numbers of each choice; not used if ``greedy``.
      greedy: whether the highest logits are chosen.
    """

    def pick(values: Array, number: Array) -> Array:
        if greedy:
            return jnp.argmax(values, -1)
        return invert(jnp.exp(values - values.max(-1)), number)[0]

    def choose(
        carry: tuple[jax.Array, jax.Array], step: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        by_block, past = carry
        numbers, turn = step
        block = pick(by_block, numbers[0])
        place, first = plan.places(block // plan.blocks)
        place += block % plan.blocks * plan.size
        rows, bias = _slices(plan.size, factors, place)
        here = (past > place) & (past <= place + plan.size)
        products = (rows @ query).at[jnp.where(here, past - place - 1, plan.size)].set(MASKED, mode="drop")
        logits = _with_bias(products, bias, place, first)
        inside = pick(logits, numbers[1])
        left = logits.at[inside].set(MASKED)
        by_block = by_block.at[block].set(_summary(left[:, None], greedy)[0])
        item = (place + inside).astype(jnp.int32)
        past = past.at[shown.shape[0] + turn].set(item + 1)
        return (by_block, past), jnp.asarray(item)

    count = uniform.shape[0]
    start = (jnp.asarray(by_block), jnp.pad(shown, (0, count)))
    return jax.lax.scan(choose, start, (jnp.asarray(uniform), jnp.arange(count)))[1]
