"""Samples actions from policies over thousands of items."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ialp_jax.types import Array, Key


def sample(key: Key, logits: Array) -> Array:
    """Draws one action per row by inverting the cumulative distribution in two levels.

    It first draws a block of about sqrt(N) items by its total probability, then an item within the block.
    This needs one random number per row. The Gumbel trick of `jax.random.categorical` needs one random number
    per item.

    Args:
      key: consumed.
      logits: float32 [..., N], unnormalised.

    Returns:
      int32 [...], 0..N-1; never an item of probability 0.
    """
    return _draw(jax.random.uniform(key, logits.shape[:-1]), logits)


def sample_mixture(key: Key, first: Array, second: Array, share: Array) -> Array:
    """Draws one action per row from (1 - share) softmax(first) + share softmax(second).

    It first draws one of the two distributions according to ``share``, and then an action from this
    distribution. One random number is enough for both draws, because after the first draw it is rescaled to
    be uniform again. So at share 0, the action equals that of `sample` with ``first`` and the same key. At
    share 1, it equals that of `sample` with ``second``.

    Args:
      key: consumed.
      first, second: float32 [..., N], unnormalised.
      share: float32 [], 0..1, weight of ``second``.

    Returns:
      int32 [...], 0..N-1; never an item of probability 0.
    """
    uniform = jax.random.uniform(key, first.shape[:-1])
    chosen = uniform < share
    within = jnp.where(chosen, uniform / share, (uniform - share) / (1.0 - share))
    return _draw(within, jnp.where(chosen[..., None], second, first))


def _draw(uniform: Array, logits: Array) -> Array:
    """Inverts the cumulative distribution at ``uniform`` [...]."""
    size = block_size(logits.shape[-1])
    top = logits.max(-1, keepdims=True)
    weights = jnp.exp(logits - top)
    if rest := -logits.shape[-1] % size:
        weights = jnp.pad(weights, [(0, 0)] * (logits.ndim - 1) + [(0, rest)])
    blocks = weights.reshape(*logits.shape[:-1], -1, size)
    totals = blocks.sum(-1)
    block, left = invert(totals, uniform)
    inside = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :]
    place, _ = invert(inside, left)
    return (block * size + place).astype(jnp.int32)


def block_size(num_items: int) -> int:
    """The divisor of N nearest to sqrt(N) within a factor of 2. If N has no such divisor: sqrt(N), rounded.

    A divisor avoids padding, which would copy all weights.
    """
    root = num_items**0.5
    divisors = [size for size in range(math.ceil(root / 2), int(2 * root) + 1) if num_items % size == 0]
    return min(divisors, key=lambda size: max(size / root, root / size), default=round(root))


def uniform_unseen(key: Key, shown: Array, num_items: int) -> Array:
    """Draws an item that was not shown, uniformly and without an array of N numbers per row.

    The index of the r-th unseen item is r plus the number of shown items before it. Let s_i be the index of
    the i-th shown item, with i from 0 in ascending order. It is before the r-th unseen item if s_i - i <= r.

    Args:
      key: consumed.
      shown: int32 [..., any], item ids in any order, possibly repeated; 0 is ignored.
      num_items: N.

    Returns:
      int32 [...], 0..N-1; any item if all were shown.
    """
    ordered = jnp.sort(jnp.where(shown > 0, shown, num_items + 1), -1)
    again = jnp.pad(ordered[..., 1:] == ordered[..., :-1], [(0, 0)] * (shown.ndim - 1) + [(1, 0)])
    distinct = jnp.sort(jnp.where(again, num_items + 1, ordered), -1) - 1
    seen = distinct < num_items
    left = num_items - seen.sum(-1)
    bits = jax.random.bits(key, shown.shape[:-1])  # the bias of modulo N is at most N / 2^32
    rank = (bits % jnp.where(left > 0, left, num_items).astype(jnp.uint32)).astype(jnp.int32)
    before = seen & (distinct - jnp.arange(shown.shape[-1]) <= rank[..., None])
    return jnp.where(left > 0, rank + before.sum(-1), rank).astype(jnp.int32)


def invert(weights: Array, uniform: Array) -> tuple[Array, Array]:
    """The index whose part of the cumulative distribution contains ``uniform``, and the place in it, 0..1."""
    total = jnp.cumsum(weights, -1)
    target = uniform * total[..., -1]
    # Rounding of float32 sums could select an index with weight 0, or none. So only indices with positive
    # weight are chosen, and the last of them if no sum passes the target.
    positive = weights > 0
    last = weights.shape[-1] - 1 - jnp.argmax(positive[..., ::-1], -1)
    passed = positive & (total > target[..., None])
    index = jnp.where(passed.any(-1), jnp.argmax(passed, -1), last)
    chosen = jnp.take_along_axis(weights, index[..., None], -1)[..., 0]
    before = jnp.take_along_axis(total, index[..., None], -1)[..., 0] - chosen
    return index, jnp.clip((target - before) / chosen, 0.0, 1.0)


def candidates(key: Key, logits: Array, count: int) -> Array:
    """Draws ``count`` different actions per row, one after the other, without replacement.

    Gumbel top-k (Kool et al., ICML 2019). The actions are returned in the order in which they were drawn.

    Args:
      key: consumed.
      logits: float32 [..., N].
      count: K.

    Returns:
      int32 [..., K], 0..N-1.
    """
    noisy = logits + jax.random.gumbel(key, logits.shape)
    return jax.lax.top_k(noisy, count)[1].astype(jnp.int32)
