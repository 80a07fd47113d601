"""Chooses items from very large catalogues without an array of B times N numbers.

The logits are ``query @ table[1:].T + bias``. Items form blocks of about sqrt(N). Each user has one number
per block: the logsumexp of the block's logits, or for greedy choices their maximum. Each choice first takes a
block by these numbers. It computes the logits of this block again, and takes an item of the block. Then it
updates the block's number, without the chosen item. So choices are made one after the other, without
replacement.

A first pass over the table computes the numbers of users with a new query. It ignores which items were shown.
Blocks with shown items are read a second time, and their numbers are computed again without these items. So a
number depends only on the query and on the shown items of its block. Its bits do not depend on the step in
which it is computed. So a caller may keep the numbers of users whose query stays the same.

If several devices split the users, each device makes the first pass over its share of the items for all
users. If each device read all items for its few users, reading would take longer than the products.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ialp_jax.agents.base import News
from ialp_jax.agents.sampling import block_size, invert
from ialp_jax.mesh import USER, by_users, devices_within
from ialp_jax.networks.heads import MASKED
from ialp_jax.types import Array, Key

CHUNK = 2**19  # entries of the item table that the first pass reads at the same time
GROUP, GROUP_ELSEWHERE = 16, 2**10  # users per matrix product in the first pass, on a CPU and on a GPU
GATHERED, GATHERED_ELSEWHERE = 2**16, 2**26  # entries of the table that single blocks copy at the same time
NO_ITEM = 1e3 * MASKED  # logit of a place without an item; less probable than an item that was shown


class Factors(NamedTuple):
    """The item table and the biases, from which the logits of all users are computed.

    Attributes:
      table: float32 [N + 1, D]; row 0 is padding.
      bias: float32 [N].
    """

    table: Array
    bias: Array


class Blocks(NamedTuple):
    """How N items are divided into blocks. The last block may have fewer items than the others.

    Attributes:
      num_items: N.
      size: number of items in a block.
    """

    num_items: int
    size: int

    @property
    def whole(self) -> int:
        """Number of blocks with ``size`` items, at least 1."""
        return self.num_items // self.size

    @property
    def total(self) -> int:
        """Number of blocks."""
        return -(-self.num_items // self.size)

    def places(self, block: Array) -> tuple[Array, Array]:
        """Places in the table: of the first item that is read for a block, and of the block's first item.

        They differ only for a last block with fewer items: it is read together with the end of the block
        before.
        """
        first = block * self.size
        return jnp.minimum(first, self.num_items - self.size), first


def blocks_of(num_items: int) -> Blocks:
    """The blocks of N items."""
    return Blocks(num_items, block_size(num_items))


def choose_streamed(
    key: Key | None,
    query: Array,
    factors: Factors,
    shown: Array,
    count: int = 1,
    by_block: Array | None = None,
) -> Array:
    """Chooses ``count`` different items per user, without items in ``shown``.

    Args:
      key: draws each item from the softmax of the logits of the items that are left, like
        `sampling.candidates`. If it is None, chooses the items with the highest logits, like `jax.lax.top_k`.
      query: float32 [B, D].
      factors: the item table and the biases.
      shown: int32 [B, any], item ids that must not be chosen; 0 is ignored.
      count: K.
      by_block: result of `summaries` for the same query and shown items; None: computed here.

    Returns:
      int32 [B, K], 0..N-1, in the order of the choices. If fewer than K items are left, items repeat
      or were shown before.
    """
    greedy = key is None
    if by_block is None:
        by_block = summaries(query, factors, everything_new(shown), greedy)
    uniform = (
        jnp.zeros((len(query), count, 2)) if key is None else jax.random.uniform(key, (len(query), count, 2))
    )

    def choose(factors: Factors, *of_users: Array) -> Array:
        def of_user(arguments: tuple[Array, Array, Array, Array]) -> Array:
            query, shown, by_block, uniform = arguments
            return _choices(factors, query, shown, by_block, uniform, greedy)

        return jax.lax.map(of_user, of_users, batch_size=min(len(of_users[0]), _at_once(factors)))

    return by_users(choose, factors, query, shown, by_block, uniform)


def everything_new(shown: Array) -> News:
    """The `News` of B users without earlier numbers: all histories and all shown items are new."""
    return News(shown, jnp.ones(len(shown), bool), jnp.ones(shown.shape, bool))


def summaries(query: Array, factors: Factors, news: News, greedy: bool, before: Array | None = None) -> Array:
    """One number per user and block, without shown items: the logsumexp or, if ``greedy``, the maximum.

    Args:
      query: float32 [B, D].
      factors: the item table and the biases.
      news: changed histories and newly shown items of B users; only numbers that depend on them are computed.
      greedy: whether the numbers are for greedy choices.
      before: float32 [B, blocks], the numbers before the news; None: all are new.

    Returns:
      float32 [B, blocks].
    """
    if before is None:
        before = jnp.zeros((len(query), blocks_of(len(factors.bias)).total))

    def of_users(factors: Factors, query: Array, news: News, before: Array) -> Array:
        by_block = _first_pass(factors, query, news.changed, greedy, before)
        return _without_shown(factors, query, news, greedy, by_block)

    return by_users(of_users, factors, query, news, before)


class _Groups(NamedTuple):
    """The users of a first pass, in groups of equal size.

    Because all groups have this size, the bits of a user's numbers do not depend on the number of users.

    Attributes:
      size: users in a group.
      queries: float32 [any, D], queries of the users; only the first ``number`` groups count.
      number: int32 [], number of groups.
    """

    size: int
    queries: Array
    number: Array


def _first_pass(factors: Factors, query: Array, changed: Array, greedy: bool, before: Array) -> Array:
    """Computes the numbers of users who are ``changed`` [B], as if no items had been shown to them."""
    own, begin = changed, jnp.int32(0)
    if devices_within() > 1:
        query, changed = (jax.lax.all_gather(rows, USER, tiled=True) for rows in (query, changed))
        begin = jax.lax.axis_index(USER) * len(own)
    size = min(len(query), _by_device(GROUP, GROUP_ELSEWHERE))
    rows = jnp.nonzero(changed, size=len(query) + size, fill_value=0)[0]
    groups = _Groups(size, jnp.asarray(query)[rows], -(-changed.sum() // size))
    column = jax.lax.dynamic_slice_in_dim(jnp.cumsum(changed) - 1, begin, len(own))
    return jnp.where(own[:, None], _of_groups(factors, groups, greedy).T[column], before)


def _of_groups(factors: Factors, groups: _Groups, greedy: bool) -> Array:
    """The numbers of all blocks, float32 [blocks, any], for each query of ``groups``."""
    devices, blocks, columns = devices_within(), blocks_of(len(factors.bias)), len(groups.queries)
    share = -(-blocks.whole // devices)
    starts = [min(device * share, blocks.whole - share) for device in range(devices)]
    start = jnp.array(starts)[jax.lax.axis_index(USER)] if devices > 1 else jnp.int32(0)
    chunk = max(1, min(share, CHUNK // (blocks.size * factors.table.shape[1])))

    def of_chunk(number: Array, numbers: Array) -> Array:
        at = jnp.minimum(number * chunk, share - chunk)
        return _write(factors, groups, greedy, start + at, chunk, numbers, at)

    # Without changed users, the table is not read at all.
    chunks = jnp.where(groups.number > 0, -(-share // chunk), 0)
    numbers = jax.lax.fori_loop(0, chunks, of_chunk, jnp.zeros((share, columns)))
    if devices > 1:
        shares, numbers = jax.lax.all_gather(numbers, USER), jnp.zeros((blocks.whole, columns))
        for number, first in enumerate(starts):
            numbers = numbers.at[first : first + share].set(shares[number])
    if blocks.total > blocks.whole:
        last, numbers = jnp.int32(blocks.whole), jnp.pad(numbers, ((0, 1), (0, 0)))
        numbers = _write(factors, groups, greedy, last, 1, numbers, last)
    return numbers


def _write(
    factors: Factors, groups: _Groups, greedy: bool, block: Array, count: int, numbers: Array, at: Array
) -> Array:
    """Computes the numbers of ``count`` blocks, beginning with ``block``, and writes them from row ``at``.

    The groups take turns while this part of the table is in the processor's cache.
    """
    size = blocks_of(len(factors.bias)).size
    place, first = blocks_of(len(factors.bias)).places(block)
    table, bias = _slices(count * size, factors, place)

    def of_group(number: Array, numbers: Array) -> Array:
        query = jax.lax.dynamic_slice_in_dim(groups.queries, number * groups.size, groups.size)
        logits = _with_bias(table @ query.T, bias, place, first)
        new = _summary(logits.reshape(count, size, groups.size), greedy)
        return jax.lax.dynamic_update_slice(numbers, new, (at, number * groups.size))

    return jax.lax.fori_loop(0, groups.number, of_group, numbers)


def _without_shown(factors: Factors, query: Array, news: News, greedy: bool, by_block: Array) -> Array:
    """Computes the numbers of blocks with newly shown items again, without all items that were shown."""
    blocks, most = blocks_of(len(factors.bias)), news.shown.shape[1]
    new = news.new & (news.shown > 0)
    group = min(new.size, _at_once(factors))
    places = jnp.nonzero(new.ravel(), size=new.size + group, fill_value=new.size)[0]

    def of_block(user: Array, block: Array) -> Array:
        _, logits = _logits(factors, query[user], news.shown[user], block)
        return _summary(logits[:, None], greedy)[0]

    def of_group(number: Array, by_block: Array) -> Array:
        some = jax.lax.dynamic_slice_in_dim(places, number * group, group)
        user, item = some // most, jnp.asarray(news.shown).ravel().at[some].get(mode="clip")
        block = jnp.maximum(item - 1, 0) // blocks.size
        numbers = jax.vmap(of_block)(jnp.minimum(user, len(query) - 1), block)
        return by_block.at[user, block].set(numbers, mode="drop")

    return jax.lax.fori_loop(0, -(-new.sum() // group), of_group, jnp.asarray(by_block))


def _at_once(factors: Factors) -> int:
    """The number of single blocks that are read at the same time."""
    most = _by_device(GATHERED, GATHERED_ELSEWHERE)
    return max(1, most // (blocks_of(len(factors.bias)).size * factors.table.shape[1]))


def _by_device(on_cpu: int, elsewhere: int) -> int:
    """The limit for the kind of device that is used."""
    return on_cpu if jax.default_backend() == "cpu" else elsewhere


def _logits(factors: Factors, query: Array, shown: Array, block: Array) -> tuple[Array, Array]:
    """The place of a block in the table, and its logits [size] for a query [D], without shown items."""
    blocks = blocks_of(len(factors.bias))
    place, first = blocks.places(block)
    rows, bias = _slices(blocks.size, factors, place)
    here = (shown > place) & (shown <= place + blocks.size)
    hidden = jnp.where(here, shown - place - 1, blocks.size)
    return place, _with_bias((rows @ query).at[hidden].set(MASKED, mode="drop"), bias, place, first)


def _slices(count: int, factors: Factors, place: Array) -> tuple[Array, Array]:
    """The table [count, D] and the biases [count] from ``place``."""
    rows = jax.lax.dynamic_slice_in_dim(factors.table, place + 1, count)
    return rows, jax.lax.dynamic_slice_in_dim(factors.bias, place, count)


def _with_bias(products: Array, bias: Array, place: Array, first: Array) -> Array:
    """Adds the biases to products [count, ...]; places before the item ``first`` get `NO_ITEM`.

    Shown items are masked before this call, so that this addition is fused with the operation that reads the
    logits.
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
    factors: Factors, query: Array, shown: Array, by_block: Array, uniform: Array, greedy: bool
) -> Array:
    """The choices of one user, int32 [K].

    Args:
      factors: the items.
      query: float32 [D].
      shown: int32 [any].
      by_block: float32 [blocks], result of `summaries`.
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
        place, logits = _logits(factors, query, past, block)
        inside = pick(logits, numbers[1])
        left = logits.at[inside].set(MASKED)
        by_block = by_block.at[block].set(_summary(left[:, None], greedy)[0])
        item = (place + inside).astype(jnp.int32)
        past = past.at[shown.shape[0] + turn].set(item + 1)
        return (by_block, past), jnp.asarray(item)

    count = uniform.shape[0]
    start = (jnp.asarray(by_block), jnp.pad(shown, (0, count)))
    return jax.lax.scan(choose, start, (jnp.asarray(uniform), jnp.arange(count)))[1]
